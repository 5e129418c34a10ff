"""Where images come from: one module per kind of source, found by its name.

Each offers `load(settings, progress)`, which returns, per split, images uint8 [n, S, S, 3] and labels int64 [n], and
the class names in label order.
"""
