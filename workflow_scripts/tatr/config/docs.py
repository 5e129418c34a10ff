"""The documents that are made from the config's models: its JSON schema and all keys with their defaults."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_origin

import yaml
from pydantic.fields import FieldInfo

from tatr.config.analyses import settings_of_analysis
from tatr.config.merges import CalibrationSection, Merge, SurgerySection, TrustRegion, settings_of
from tatr.config.messages.words import bare, expected, is_section, members, of_field
from tatr.config.models import Config
from tatr.config.section import Section
from tatr.config.tasks import SOURCES
from tatr.merging.methods import load, names
from tatr.report import analyses

WIDTH = 44
"""Column where comments start."""


def schema() -> dict[str, Any]:
    """The JSON schema of a config as it is written: before known tasks are added and sweeps are expanded."""
    root = Config.model_json_schema()
    models = root["$defs"]
    for name in ("Merge", "TrustRegion"):
        models[name]["properties"] = {k: _sweep(v) for k, v in models[name]["properties"].items() if k != "settings"}
    _add_methods(models["Merge"])
    for source in SOURCES.values():
        # A config may change a single key of a known task.
        models[source.__name__].pop("required", None)
    for key, value in root["properties"].items():
        if "$ref" in value or key == "tasks":
            root["properties"][key] = {"anyOf": [value, {"type": "null"}]}  # an empty section
    root["properties"]["merges"]["items"] = _sweep({"$ref": "#/$defs/Merge"})
    root["patternProperties"] = {"^x-": {}}  # what is only referred to by aliases
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "title": "TATR configuration"}


def _add_methods(merge: dict[str, Any]) -> None:
    common = list(merge["properties"])
    merge["properties"]["method"] = _sweep({"enum": names(), "description": Merge.model_fields["method"].description})
    merge["allOf"] = []
    for name in names():
        settings = settings_of(load(name)).model_json_schema()
        properties = {key: _sweep(value) for key, value in settings.get("properties", {}).items()}
        # A setting of the same name may mean different things in two methods, so its values are listed with the method.
        merge["properties"] |= {key: {} for key in properties}
        then = {"properties": properties, "propertyNames": {"enum": [*common, *properties]}}
        then["required"] = settings.get("required", [])
        merge["allOf"].append({"if": {"properties": {"method": {"const": name}}}, "then": then})


def _sweep(value: dict[str, Any]) -> dict[str, Any]:
    """A value, or a list of values."""
    about: dict[str, Any] = {key: value[key] for key in ("title", "description", "default") if key in value}
    rest = {key: value[key] for key in value if key not in about}
    choices = rest.get("anyOf", [rest])
    return {**about, "anyOf": [*choices, {"type": "array", "minItems": 1, "items": {"anyOf": choices}}]}


def schema_text() -> str:
    """`config/schema.json`."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def default_text() -> str:
    """`config/default.yaml`."""
    head = [
        "# yaml-language-server: $schema=schema.json",
        "# All keys of a configuration with their defaults. A config needs `suite` and `merges`, and may leave out all",
        "# else. How to write one: config/README.md. This file is made by workflow_scripts/config_docs.py.",
        "",
    ]
    return "\n".join([*head, *_section(Config, 0), *_sources(), *_methods(), *_analyses()]) + "\n"


def _section(section: type[Section], depth: int, skip: tuple[str, ...] = ()) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if name in skip:
            continue
        kind, indent = members(field.annotation)[0], "  " * depth
        if is_section(kind) and field.get_default() is not None:  # one that is null may be left out as a whole
            yield from ["", f"{indent}# {_sentence(kind.__doc__)}", f"{indent}{name}:", *_section(kind, depth + 1)]
        elif name == "merges":
            yield from ["", f"{indent}# {_sentence(field.description)}", f"{indent}{name}:", *_merge(depth + 1)]
        else:
            yield _line(name, field, indent)


def _merge(depth: int) -> Iterator[str]:
    first, *rest = _section(Merge, depth + 1, ("calibration", "trust_region", "surgery", "name", "settings"))
    indent = "  " * (depth + 1)
    yield f"{'  ' * depth}- {first.lstrip()}"
    yield from rest
    yield _commented(f"{indent}calibration:", "or null, the default: calibrate nothing; or svc alone")
    yield from _section(CalibrationSection, depth + 2)
    yield _commented(f"{indent}trust_region:", "or null, the default: merge without one")
    yield from _section(TrustRegion, depth + 2)
    yield _commented(f"{indent}surgery:", "or null, the default: train no modules")
    yield from _section(SurgerySection, depth + 2)
    yield _line("name", Merge.model_fields["name"], indent)


def _line(name: str, field: FieldInfo, indent: str) -> str:
    example = {"method": "task_arithmetic", "pairs": [["A", "B"]]}.get(name, (field.examples or [""])[0])
    value = example if field.is_required() else field.get_default()
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=200).removesuffix("...\n").strip()
    allowed = f"one of {', '.join(names())}" if name == "method" else expected(of_field(field))
    about = f"{'required: ' if field.is_required() else ''}{field.description or ''}"
    return _commented(f"{indent}{name}: {text}", about if _self_explanatory(field) else f"{about} ({allowed})".lstrip())


def _self_explanatory(field: FieldInfo) -> bool:
    """Whether default and description already say which values the key takes."""
    kind = bare(members(field.annotation)[0])
    return (
        expected(of_field(field)) == "text" or get_origin(kind) in (dict, Literal) or len(members(field.annotation)) > 1
    )


def _commented(line: str, comment: str) -> str:
    return f"{line:<{WIDTH - 2}}  # {comment}"


def _sources() -> Iterator[str]:
    yield from ["", "# A task under `tasks`, by its source:"]
    for name, source in SOURCES.items():
        yield from [f"# {source.__doc__}", "#   NAME:", _commented(f"#     source: {name}", "required")]
        yield from _commented_out(_section(source, 2, ("source",)))
        yield "#"


def _methods() -> Iterator[str]:
    yield "# A merge by its method: the default coefficient, and its settings:"
    for name in names():
        method = load(name)
        yield _commented(f"#   {name}", f"coefficient {method.coefficient:g}")
        yield from _commented_out(_section(settings_of(method), 2))


def _analyses() -> Iterator[str]:
    yield from ["#", "# An analysis under `analyses` by its name, and its settings:"]
    for name in analyses.names():
        analysis = analyses.load(name)
        yield _commented(f"#   {name}:", analysis.title)
        yield from _commented_out(_section(settings_of_analysis(analysis), 2))


def _commented_out(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        key, _, about = line.partition("  # ")
        yield _commented(f"# {key.rstrip()}", about)


def _sentence(text: str | None) -> str:
    words = (text or "").strip().splitlines()[0]
    return words[:1].upper() + words[1:].removesuffix(".") + "."
