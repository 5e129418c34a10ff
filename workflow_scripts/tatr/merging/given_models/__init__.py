"""Merges of models that people hand over: in memory, or as files of any size."""
