"""The plan of a configuration."""
