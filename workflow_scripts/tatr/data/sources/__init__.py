"""Where images come from: one module per kind of source, found by its name.

Each offers `load(settings, downloaded) -> SourceSplits` (`tatr.data.pictures`): a task's splits, not decoded yet, and
its class names.
"""
