"""The configuration: its models, reading it, and saying what is wrong with it. For planning only; no job imports it."""
