"""JSON that strangers wrote: an object without doubles, or one kind of error."""

import json
from typing import Any


def json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object (UTF-8) that some bytes are.

    Raises:
        ValueError: they are none, a name occurs twice in it, or a name is no text that could be written again.
    """
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_without_doubles)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice in it")
    "".join(made).encode()  # half of a surrogate pair is no text
    return made
