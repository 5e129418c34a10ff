"""Models whose tensors have other names than the base's because of what they were wrapped in when they were saved."""

import posixpath
from collections import Counter
from collections.abc import Collection

WRAPPERS = {
    "_orig_mod": "torch.compile",
    "module": "DataParallel or DistributedDataParallel",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
"""Parts of names that wrappers add, and the wrappers."""


def renaming(base: Collection[str], names: Collection[str]) -> str | None:
    """How a model's names come from the base's, if most of those that differ do: for a message.

    Args:
        base: the base's names.
        names: the model's.
    """
    lacking, extra = [n for n in base if n not in names], [n for n in names if n not in base]
    enough = (min(len(lacking), len(extra)) + 1) // 2
    if not enough:
        return None
    if prefix := _added(extra, set(lacking), enough):
        return f"its tensors are called '{prefix}…' where the base's have no '{prefix}'{_cause(prefix)}"
    if prefix := _added(lacking, set(extra), enough):
        return f"the base's tensors are called '{prefix}…' where its own have no '{prefix}'{_cause(prefix)}"
    plain = {_unwrapped(name): name for name in lacking}
    pairs = [(name, plain[key]) for name in extra if (key := _unwrapped(name)) in plain]
    if len(pairs) >= enough:
        return f"its tensor '{pairs[0][0]}' is the base's '{pairs[0][1]}'{_cause(pairs[0][0] + '.' + pairs[0][1])}"
    if 2 * len(lacking) <= len(base):
        return None  # a part of the model, which may well be another one
    own, theirs = _common(extra), _common(lacking)
    rest = {name.removeprefix(theirs) for name in lacking}
    if own != theirs and sum(name.removeprefix(own) in rest for name in extra) >= enough:
        return f"its tensors are called '{own}…' where the base's are called '{theirs}…'"
    return None


def _added(longer: Collection[str], shorter: Collection[str], enough: int) -> str | None:
    """What stands before names of `shorter` in most of `longer`."""
    found: Counter[str] = Counter()
    for name in longer:
        parts = name.split(".")
        cuts = (".".join(parts[at:]) for at in range(1, len(parts)))
        if rest := next((cut for cut in cuts if cut in shorter), None):
            found[name.removesuffix(rest)] += 1
    prefix, count = max(found.items(), key=lambda item: item[1], default=("", 0))
    return prefix if count >= enough else None


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _common(names: Collection[str]) -> str:
    """The parts with which all names begin."""
    start = posixpath.commonprefix([*names])
    return start[: start.rfind(".") + 1]


def _cause(name: str) -> str:
    wrappers = [wrapper for part, wrapper in WRAPPERS.items() if part in name.split(".")]
    return f" ({', '.join(wrappers)} adds that)" if wrappers else ""
