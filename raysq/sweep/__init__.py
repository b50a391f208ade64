"""Sweeps: tune spaces as data, the distinct stages of their trials, and what runs and records them."""
