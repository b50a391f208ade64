"""What sweeps compare, as data."""
