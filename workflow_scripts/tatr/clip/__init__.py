"""CLIP: its shape, its two towers as functions of named tensors, heads, pre-trained weights."""
