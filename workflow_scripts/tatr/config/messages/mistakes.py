"""What is wrong with a configuration, in words: the key as the person wrote it, its value, what is allowed."""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tatr.config.merges import CalibrationSection, Merge, Search, SurgerySection, TrustRegion, settings_of
from tatr.config.messages.words import bare, expected, is_section, members, name_expected, of_field
from tatr.config.models import Config, ExemplarsSection, FineTuningSection
from tatr.config.section import Section
from tatr.config.tasks import SOURCES, AnySource, TaskSection
from tatr.merging import methods
from tatr.merging.methods import load, names

Keys = tuple[Any, ...]
"""Where something is written: keys of sections and indices of lists."""

ANYTHING = object()
"""Stands for the value of a key that is itself the mistake."""

SHORTHAND = {"calibration": "alpha", "exemplars": "count", "trust_region": "tau", "coefficient": "search"}
"""The key that a plain value in a section's place is meant for."""

SECTIONS: dict[str, type[Section]] = {
    "in a merge's trust_region": TrustRegion,
    "in a merge's coefficient": Search,
    "in a merge": Merge,
    "in a merge's calibration": CalibrationSection,
    "at the top level": Config,
    "in finetuning": FineTuningSection,
    "in exemplars": ExemplarsSection,
}
"""Where a misplaced key may belong; the first of these counts."""


class Spelled(str):
    """A value that is no text to YAML, as it is spelled: `0625`, `no`. Shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


Spelling = Callable[[Keys, Any], Any]
"""From where a value stands, and the value, to the value as it was written."""

UNKNOWN = ("extra_forbidden", "invalid_key")

OTHER_WORDS = {
    "datasets": "suite",
    "epochs": "steps",
    "folder": "root",
    "iterations": "steps",
    "lambda": "coefficient",
    "lr": "learning_rate",
    "methods": "merges",
    "model": "backbone",
    "parquet": "hub",
    "path": "root",
    "steps": "iterations",
    "warmup": "warmup_steps",
}
"""Other names that people know these keys by."""


RENAMED: dict[str, dict[str, str]] = {
    "Config": {"finetuned": "checkpoints"},
    "Backbone": {"pretrained": "weights"},
    "CheckpointOrigin": {"source": "origin"},
    "CheckpointOverrides": {"source": "origin"},
    "RealTask": {"labels": "source_classnames", "images": "counts"},
    "SurgerySection": {"images": "split"},
    "Merge": {"images": "split"},
}
"""Keys that had another name once, by the class of their section (or a base of it), and what they are called now."""


@dataclass(frozen=True)
class Mistake:
    """One mistake, and what to do about it."""

    keys: Keys
    text: str

    def __str__(self) -> str:
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return f"{where.removeprefix('.')}: {self.text}".removeprefix(": ")


def mistakes_of(error: ValidationError, raw: Mapping[str, Any], spelled: Spelling) -> list[tuple[Mistake, Any]]:
    """What pydantic refuses in `raw`, once per key, each with the value there."""
    mistakes: dict[Keys, tuple[Mistake, Any]] = {}
    renamed: set[Keys] = set()
    missing: set[Keys] = set()
    for detail in error.errors():
        keys, value = tuple(key for key in detail["loc"] if key != "[key]"), detail["input"]
        if detail["type"] == "missing" and isinstance(keys[-1], int):
            keys, detail["type"] = keys[:-1], "too_short"  # an item that a list lacks is the list's mistake
        if keys[:1] == ("merges",) and keys[2:3] == ("settings",) and len(keys) > 3:
            keys = keys[:2] + keys[3:]  # a method's settings are written next to its name
        value = ANYTHING if detail["type"] in UNKNOWN else value
        if detail["type"] in UNKNOWN and (now := _renamed(_at(keys, raw)[0], str(keys[-1]))):
            renamed.add((*keys[:-1], now))
        if detail["type"] == "missing":
            missing.add(keys)
        mistake = Mistake(keys, _text(dict(detail), keys, raw, spelled))
        if detail["type"] in UNKNOWN or detail["loc"][-1] == "[key]":
            mistake = Mistake((*keys[:-1], str(keys[-1])), mistake.text)  # a number is no index here
        mistakes.setdefault(keys, (mistake, value))
    # A required key under its old name is one mistake, not two.
    return [mistake for keys, mistake in mistakes.items() if keys not in renamed & missing]


def nearest(name: Any, known: Iterable[str]) -> str:  # noqa: ANN401
    """The known name that was probably meant, or else all of them."""
    known = list(map(str, known))
    close = _close(name, known)
    return f" (did you mean '{close}'?)" if close else f"; known: {', '.join(known)}"


def shown(value: Any) -> str:  # noqa: ANN401
    """A value as a person would write it, cut where it is long."""
    text = "nothing" if value is None else _as_yaml(value)
    return text if len(text) <= 60 else f"{text[:54]} …{text[-1]}"


def _as_yaml(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, date) else repr(value)


def _close(name: Any, known: list[str]) -> str | None:  # noqa: ANN401
    wanted = re.sub(r"[- ]", "_", str(name)).lower()
    if (synonym := OTHER_WORDS.get(wanted)) in known:
        return synonym
    by_case = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(wanted, by_case, 1)
    return by_case[close[0]] if close else None


def _text(detail: dict[str, Any], keys: Keys, raw: Mapping[str, Any], spelled: Spelling) -> str:
    section, field, annotation = _at(keys, raw)
    value, message = detail["input"], detail["msg"].removeprefix("Value error, ")
    spelling = spelled(keys, value)
    written = shown(spelling)
    choices = _choices(keys, section, annotation)
    allowed = f"one of {', '.join(choices)}" if choices else expected(annotation)
    if detail["type"] in UNKNOWN:
        return _unknown_key(keys, section, raw)
    if detail["loc"][-1] == "[key]":
        return f"expected {name_expected(value if isinstance(value, str) else '')}"
    if detail["type"] == "string_pattern_mismatch":
        return f"{written}: expected {name_expected(value)}"
    if detail["type"] == "missing":
        about = f": {field.description}" if field and field.description and not choices else ""
        return f"missing; expected {allowed}{about}"
    if detail["type"] == "value_error" and message.strip():
        return message if isinstance(value, dict | list) else f"{written}: {message}"
    if choices and isinstance(value, str):
        about = " (Parquet files: hub)" if issubclass(section, TaskSection) and not _close(value, choices) else ""
        titled = methods.meant(value) if choices == names() else None  # a table's name of it, such as RegMean++
        return f"{written}: unknown {keys[-1]}{nearest(titled or value, choices)}{about}"
    percent = _percent(value) if _is_share(keys[-1], field, detail.get("ctx", {})) else ""
    return f"{written}: expected {allowed}{_advice(value, spelling, annotation, keys) or percent}"


def _unknown_key(keys: Keys, section: type[Section], raw: Mapping[str, Any]) -> str:
    key, known = str(keys[-1]), [name for name in section.model_fields if name != "settings"]
    method = _get(raw, keys[:-1]).get("method") if section is Merge else None
    if method in names():
        known += load(method).parameters
    if (now := _renamed(section, key)) and now in known:
        return f"this key is called '{now}' now; write {now}: instead"
    if close := _close(key, known):
        return f"unknown key (did you mean '{close}'?)"
    if section in (Config, Merge, TrustRegion, CalibrationSection, SurgerySection):
        places = [(where, its.model_fields) for where, its in SECTIONS.items() if its is not section]
        for meant in (OTHER_WORDS.get(key.lower(), key), key):
            if home := next((where for where, fields in places if meant in fields), None):
                return f"unknown key here; '{meant}' belongs {home}"
    what = f"not a key of a merge or a setting of {method}" if section is Merge else "unknown key"
    return f"{what}; known: {', '.join(known)}"


def _renamed(section: type[Section], key: str) -> str | None:
    return next(
        (RENAMED[base.__name__][key] for base in section.__mro__ if key in RENAMED.get(base.__name__, {})), None
    )


def _get(raw: Any, keys: Keys) -> Any:  # noqa: ANN401
    for key in keys:
        try:
            raw = raw[key]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _at(keys: Keys, raw: Any) -> tuple[type[Section], FieldInfo | None, Any]:  # noqa: ANN401
    """The section that holds the last key, the key's field, and the type that is expected there."""
    section: type[Section] = Config
    field: FieldInfo | None = None
    annotation: Any = Config
    for depth, key in enumerate(keys):
        here = _get(raw, keys[:depth])
        annotation = _branch(annotation, here)
        if is_section(annotation):
            section = annotation
            field = _fields(section, here).get(key)
            annotation = of_field(field) if field else Any
        else:
            field = None
            annotation = (*get_args(bare(annotation)), Any)[:2][-1 if get_origin(bare(annotation)) is dict else 0]
    return section, field, annotation


def _fields(section: type[Section], raw: Any) -> dict[str, FieldInfo]:  # noqa: ANN401
    if section is Merge and isinstance(raw, dict) and raw.get("method") in names():
        return {**settings_of(load(raw["method"])).model_fields, **Merge.model_fields}
    return dict(section.model_fields)


def _branch(annotation: Any, raw: Any) -> Any:  # noqa: ANN401
    """The member of a union that the value is meant to be."""
    kinds = [bare(member) for member in members(annotation)]
    if set(kinds) == set(SOURCES.values()):
        source = raw.get("source") if isinstance(raw, dict) else None
        return SOURCES.get(source if isinstance(source, str) else "", AnySource)
    return next((member for member in kinds if is_section(member)), kinds[0])


def _choices(keys: Keys, section: type[Section], annotation: Any) -> list[str]:  # noqa: ANN401
    if section is Merge and keys[-1] == "method":
        return names()
    kind = members(annotation)[0]
    return [str(choice) for choice in get_args(kind)] if get_origin(kind) is Literal else []


def _advice(value: Any, spelling: Any, annotation: Any, keys: Keys) -> str:  # noqa: ANN401
    """What to do about the most common slips."""
    kinds = [bare(member) for member in members(annotation)]
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(value, dict) and "search" in value:
        return "; only coefficient and tau are chosen by {search: [...]}, while a plain list is a sweep"
    if str in kinds and (isinstance(value, bool | int | float | date) or isinstance(spelling, Spelled)):
        return _quotes(value, spelling) if expected(annotation) == "text" else ""
    if keys[0] == "merges" and isinstance(value, str) and Merge in (kinds[0], *map(bare, get_args(kinds[0]))):
        section = f"{{method: {_text_in_yaml(value)}}}"
        return f"; write {section}" if len(keys) > 1 else f"; write [{section}]"
    if get_origin(kinds[0]) in (list, tuple) and isinstance(value, str):
        written = _list_in_yaml(value, bare(get_args(kinds[0])[0]))
        return f"; write {written}" if written else ""
    if get_origin(kinds[0]) is list and isinstance(value, dict):
        return "; put a dash before each entry"
    if float in kinds and isinstance(value, str) and (percent := re.fullmatch(r"\s*(\d+(\.\d+)?)\s*%\s*", value)):
        return f"; did you mean {float(percent[1]) / 100:g}?"
    if isinstance(value, list) and keys[0] != "merges" and kinds[0] in (int, float, str):
        return "; a list is a sweep only under merges"
    if isinstance(value, bool) and is_section(kinds[0]) and (fields := kinds[0].model_fields):
        has_defaults = not any(field.is_required() for field in fields.values())
        return ("; write {} for its defaults" if value else "; leave the key out") if has_defaults else ""
    if number and keys[-1] in SHORTHAND and is_section(kinds[0]):
        return f"; write {{{SHORTHAND[keys[-1]]}: {value}}}"
    return ""


def _is_share(key: Any, field: FieldInfo | None, limits: Mapping[str, Any]) -> bool:  # noqa: ANN401
    """Whether a number could have been written as a percentage; not every number up to 1 could, such as a factor."""
    up_to_one = 1 in (limits.get("lt"), limits.get("le"))
    about = (field and field.description) or "share"  # an item of a list has no words of its own
    return key == "tau" or (up_to_one and bool(re.search("share|probability", about)))


def _percent(value: Any) -> str:  # noqa: ANN401
    """What is too large for a share may be a percentage."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"; it is a share, not a percentage: did you mean {value / 100:g}?" if number and 1 <= value < 100 else ""


def _list_in_yaml(text: str, of: Any) -> str:  # noqa: ANN401
    """A list of what a text names, `a, b`; or of the text alone, if YAML would read its words as something else.

    Empty if the list is to hold something else than texts, and the text is no list of numbers.
    """
    if of is not str and get_origin(of) is not Literal:
        return f"[{text}]" if of in (int, float) and re.fullmatch(r"[\d.,\s-]+", text) else ""
    names = [name.strip() for name in text.split(",") if name.strip()]
    plain = bool(names) and all(_text_in_yaml(name) == name for name in names)
    return f"[{', '.join(names)}]" if plain else f"[{_text_in_yaml(text)}]"


def _text_in_yaml(text: str) -> str:
    """A text as an item of a YAML list: in quotes where YAML would read it as something else."""
    try:
        is_plain = yaml.safe_load(f"[{text}]") == [text]
    except (yaml.YAMLError, ValueError):
        is_plain = False
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _quotes(value: Any, spelling: Any) -> str:  # noqa: ANN401
    """That a text must be in quotes; around what was written, if a file tells that."""
    quoted = f"put it in quotes: '{spelling}'" if isinstance(spelling, Spelled) else "put it in quotes"
    if isinstance(value, bool):
        return f"; YAML reads an unquoted yes, no, on or off as a truth value: {quoted}"
    return f"; YAML reads this as {shown(value)}: {quoted}" if str(value) != str(spelling) else f"; {quoted}"
