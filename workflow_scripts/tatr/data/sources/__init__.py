"""Where images come from: one module per kind of source, found by its name.

Each offers `load(settings, downloaded) -> SourceSplits` (`tatr.data.pictures`): a task's splits, not decoded yet, and
its class names.

And `look(settings) -> int | None`: how many training images there will be, as far as that can be seen while the
workflow is planned, without torch, network or decoding. It raises what `load` would raise. Its settings may have
`classnames`, too, the names of the head, to be compared with the source's.
"""
