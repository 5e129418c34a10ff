"""Images: where they come from, checks, splits, decoding, and a task as the torch steps see it."""
