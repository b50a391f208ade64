"""Training without Ray: one update step, the loop of a stage, checkpoints and the journal of metrics."""
