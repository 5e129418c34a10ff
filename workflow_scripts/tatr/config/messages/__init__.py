"""What is wrong with a configuration, and which values a key takes, in words."""
