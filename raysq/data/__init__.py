"""Line-aligned text, vocabularies, memory-mapped shards and deterministic batches."""
