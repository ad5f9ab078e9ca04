"""What was predicted, for whom, by which versions."""
