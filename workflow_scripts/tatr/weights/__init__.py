"""Weights on disk: safetensors files, sharded models, encoders, and checkpoints that others saved."""
