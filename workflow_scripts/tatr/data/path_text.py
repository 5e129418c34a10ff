"""Paths as text: the names of files may be any bytes, but logs, records and digests hold text."""

from pathlib import Path


def text_of(path: str | Path) -> str:
    """A path in which bytes that are no UTF-8 are written out, as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
