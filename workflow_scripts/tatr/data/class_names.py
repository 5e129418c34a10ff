"""Names that people can't tell apart, of classes and in tables. Which classes a text encoder can't, the head says."""

import unicodedata
from collections.abc import Iterable


def as_seen(name: str) -> str:
    """What people see of a name: neither the number of spaces nor how its letters are composed."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def twice(names: Iterable[str]) -> str | None:
    """The first name that is there again, perhaps spelt in another way, for messages; None if there is none."""
    found = dict[str, str]()
    for name in names:
        if (seen := as_seen(name)) in found:
            first = found[seen]
            return f"{name!r}" if first == name else f"{name!r} (as {first!a} and {name!a})"
        found[seen] = name
    return None
