"""Weights on disk: safetensors files, sharded models, encoders, and checkpoints from elsewhere."""
