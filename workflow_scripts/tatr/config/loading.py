"""From what YAML gives to a checked `Config`, or to an error that a person can act on."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tatr.config.limits import check_rows, check_size
from tatr.config.messages.analysis_mistakes import analysis_mistakes
from tatr.config.messages.checkpoint_mistakes import checkpoint_mistakes
from tatr.config.messages.mistakes import ANYTHING, Keys, Mistake, mistakes_of, nearest, shown
from tatr.config.models import Config
from tatr.config.section import Section
from tatr.config.suites import SUITES, tasks_of
from tatr.config.tasks import Data
from tatr.config.written import Written, is_aside, read_yaml
from tatr.data.class_names import as_seen
from tatr.data.tiny8 import TASKS
from tatr.errors import TatrError
from tatr.merging.methods import load
from tatr.report.plain_text import counted
from tatr.training.recipes.fine_tuning import FineTuning

RESERVED = (
    *("method", "average", "unseen_average", "normalised", "coefficient", "tau", "unlabelled"),
    *("average_low", "average_high", "difference", "difference_low", "difference_high"),
    *("unseen_average_low", "unseen_average_high"),
    *("unseen_difference", "unseen_difference_low", "unseen_difference_high"),
    *("seed", "seeds"),
)
"""Columns of tables other than the tasks'."""

PATHS = ("backbone", "weights", "root", "path", "zero_shot")
"""Keys whose texts may begin with ~."""

REFERENCES = ("Pre-trained", "Individual", "Traditional MTL")
"""Rows of tables other than the merges."""


def load_config(raw: Mapping[str, Any], known_tasks: Mapping[str, Any], files: Iterable[str | Path] = ()) -> Config:
    """Check a configuration.

    Args:
        raw: as read from YAML and the command line.
        known_tasks: of `config/tasks.yaml` and `config/clip_tasks.yaml`; `raw["tasks"]` adds to them, key by key.
        files: that `raw` was read from, which say how it was written.

    Raises:
        TatrError: one line per mistake, with the key's path, the value and what is allowed.
    """
    check_size(raw)
    check_rows(raw.get("merges"))
    raw = {key: value for key, value in raw.items() if not is_aside(key)}
    if isinstance(raw.get("suite"), str) and raw["suite"] in SUITES:
        raw = {**raw, "suite": tasks_of(raw["suite"])}
    written = Written(map(Path, files))
    tasks = _with_known(raw.get("tasks"), known_tasks, _data(raw.get("data")))
    merges = raw.get("merges")
    entries = [*enumerate(merges)] if isinstance(merges, list) else []
    rows = [(index, row) for index, entry in entries for row in expand(entry)]
    complete = {**raw, "tasks": tasks, "merges": [row for _, row in rows] if entries else merges}
    origins = [index for index, _ in rows]
    mistakes = [*_empty_sweeps(merges, ("merges",))] if entries else []
    config = None
    try:
        config = Config.model_validate(complete)
    except ValidationError as error:
        refused = _refused(error, raw, complete, origins, written)
        mistakes += [mistake for mistake in refused if not (mistakes and mistake.keys == ("merges",))]
    mistakes += _unknown_tasks(raw, tasks)
    if config:
        mistakes += [*_undrawn(config), *_long_warmups(config), *_same_rows(config, origins), *_clashing_seeds(config)]
        mistakes += [*_weights_of_others(config, origins), *_settings_together(config, origins)]
        mistakes += [*checkpoint_mistakes(config), *analysis_mistakes(config)]
    told = {mistake.keys for mistake in mistakes}
    mistakes += [*_texts(raw, ()), *(found for found in written.mistakes() if found.keys not in told)]
    if mistakes or config is None:
        sections = [*Config.model_fields]
        mistakes.sort(key=lambda m: sections.index(m.keys[0]) if m.keys and m.keys[0] in sections else len(sections))
        lines = dict.fromkeys(str(Mistake(written.keys(mistake.keys), mistake.text)) for mistake in mistakes)
        raise TatrError("\n  ".join([f"the configuration has {counted(len(lines), 'mistake')}:", *lines]))
    return config


def read_tasks(files: Iterable[Path]) -> dict[str, Any]:
    """The known tasks of several YAML files."""
    return {name: task for file in files for name, task in read_yaml(file).items()}


def expand(entry: Any) -> Iterator[Any]:  # noqa: ANN401
    """All merges of an entry in which lists stand for sweeps: their grid. Lists under `search` are candidates.

    >>> list(expand({"method": "ties", "density": [0.1, 0.2]}))
    [{'method': 'ties', 'density': 0.1}, {'method': 'ties', 'density': 0.2}]
    """
    if isinstance(entry, list):
        for item in entry:
            yield from expand(item)
    elif isinstance(entry, dict):
        values = [[value] if key == "search" else list(expand(value)) for key, value in entry.items()]
        for row in itertools.product(*values):
            yield dict(zip(entry, row, strict=True))
    else:
        yield entry


def _with_known(written: Any, known: Mapping[str, Any], data: Data) -> Any:  # noqa: ANN401
    """The known tasks with a config's changes. One that names a source which the task is not known to have is
    taken as it is.
    """
    written = {} if written is None else written
    if not isinstance(written, dict):
        return written
    changes = {name: task or {} for name, task in written.items()}
    wanted = {name: task.get("source") for name, task in changes.items() if isinstance(task, dict)}
    tasks = {name: known_task(entry, wanted.get(name), data) for name, entry in known.items()}
    for name, task in changes.items():
        base = tasks.get(name) or {}
        same = isinstance(task, dict) and task.get("source", base.get("source")) == base.get("source")
        tasks[name] = {**base, **task} if same else task
    return tasks


def known_task(entry: Mapping[str, Any], wanted: Any, data: Data) -> dict[str, Any]:  # noqa: ANN401
    """A known task as a config would write it: from the source that is wanted, or from the first of `data.sources`.

    Args:
        entry: of `config/tasks.yaml` or `config/clip_tasks.yaml`. There, `sources` has keys for each source, laid over
            those that the sources share.
        wanted: the source that a config names for it, if any.
        data: where real images are.
    """
    sources = entry.get("sources", {})
    if not sources:
        return dict(entry)
    preferred = [source for source in data.sources if source in sources]
    source = wanted if isinstance(wanted, str) and wanted in sources else [*preferred, *sources][0]
    task = {key: value for key, value in entry.items() if key != "sources"} | sources[source] | {"source": source}
    if source != "hub":
        task["root"] = str(Path(data.root) / task.get("root", ""))
    return task


def _data(raw: Any) -> Data:  # noqa: ANN401
    try:
        return Data.model_validate(raw or {})
    except ValidationError:
        return Data()  # reported when the whole config is checked


def _empty_sweeps(node: Any, keys: Keys) -> Iterator[Mistake]:  # noqa: ANN401
    if node == [] and keys[-1] != "search":
        yield Mistake(keys, "[]: an empty list sweeps over nothing; give it values or leave the key out")
    if isinstance(node, list | dict):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _empty_sweeps(value, (*keys, key))


def _refused(
    error: ValidationError, raw: Mapping[str, Any], complete: Mapping[str, Any], origins: list[int], written: Written
) -> Iterator[Mistake]:
    """What pydantic refuses, where and as it was written."""

    def spelled(keys: Keys, value: Any) -> Any:  # noqa: ANN401
        return written.spelled(_as_written(keys, value, raw, origins), value)

    for mistake, value in mistakes_of(error, complete, spelled):
        yield Mistake(_as_written(mistake.keys, value, raw, origins), mistake.text)


def _texts(node: Any, keys: Keys) -> Iterator[Mistake]:  # noqa: ANN401
    """Texts with what no file can hold, and paths in the home of someone whom this machine doesn't know."""
    if isinstance(node, list | dict):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _texts(value, (*keys, key))
            yield from _texts(key, keys) if isinstance(key, str) else ()
    elif isinstance(node, str) and (found := re.search("[\0\ud800-\udfff]", node)):
        yield Mistake(keys, f"holds {found[0]!a}, which is no character of a text or of a file's name; leave it out")
    elif isinstance(node, str) and node.startswith("~") and keys and keys[-1] in PATHS:
        try:
            Path(node).expanduser()
        except RuntimeError:
            yield Mistake(keys, f"{shown(node)}: no such user is known here; write the path in full")


def _as_written(keys: Keys, value: Any, raw: Mapping[str, Any], origins: list[int]) -> Keys:  # noqa: ANN401
    """Where the person wrote what stands at `keys` once the sweeps are expanded."""
    if keys[:1] != ("merges",) or len(keys) < 2:
        return keys
    index = origins[keys[1]]
    rest = _find(raw["merges"][index], keys[2:], value)
    return ("merges", index, *(keys[2:] if rest is None else rest))


def _find(node: Any, keys: Keys, value: Any) -> Keys | None:  # noqa: ANN401
    if isinstance(node, list) and not (isinstance(keys[0], int) if keys else value is ANYTHING):
        for index, item in enumerate(node):
            if (inner := _find(item, keys, value)) is not None:
                return (index, *inner)
        return None
    if not keys:
        return () if value is ANYTHING or node is value or (node == value and type(node) is type(value)) else None
    try:
        inner = _find(node[keys[0]], keys[1:], value)
    except (KeyError, IndexError, TypeError):
        # A key that is missing; or one that was written under `settings`.
        inside = node.get("settings") if isinstance(node, dict) else None
        return ("settings", *keys) if isinstance(inside, dict) and keys[0] in inside else None
    return None if inner is None else (keys[0], *inner)


def _unknown_tasks(raw: Mapping[str, Any], tasks: Any) -> Iterator[Mistake]:  # noqa: ANN401
    if not isinstance(tasks, dict):
        return
    listed: dict[str, str] = {}
    for key in ("suite", "unseen"):
        for index, task in enumerate(raw[key] if isinstance(raw.get(key), list) else []):
            if not isinstance(task, str):
                continue  # refused when the whole config is checked
            if listed.setdefault(task, key) != key:
                yield Mistake((key, index), f"{shown(task)}: is merged; leave it out of suite or of unseen")
            elif task in raw[key][:index]:
                yield Mistake((key, index), f"{shown(task)}: listed twice")
            elif task in RESERVED:
                text = f"{shown(task)}: tables have a column of that name; give the task another name"
                yield Mistake((key, index), text)
            elif task not in tasks:
                yield Mistake((key, index), f"{shown(task)}: unknown task{nearest(task, tasks)}")
    per_task = [(section, "tasks") for section in ("finetuning", "checkpoints", "display")]
    for section, key in [*per_task, ("sanity", "expected")]:
        entries = raw[section].get(key) if isinstance(raw.get(section), dict) else None
        for task in entries if isinstance(entries, dict) else {}:
            if isinstance(task, str) and task not in tasks:  # another key is refused when the whole config is checked
                yield Mistake((section, key, task), f"unknown task{nearest(task, tasks)}")


def _undrawn(config: Config) -> Iterator[Mistake]:
    for name, task in config.tasks.items():
        if task.source == "tiny8" and name not in TASKS:
            text = f"the embedded benchmark draws no task of that name{nearest(name, TASKS)}; or take another source"
            yield Mistake(("tasks", name, "source"), text)


def _long_warmups(config: Config) -> Iterator[Mistake]:
    finetuning, multitask = config.finetuning, config.multitask
    recipes: list[tuple[Keys, FineTuning]] = [
        (("finetuning", "tasks", task) if task in finetuning.tasks else ("finetuning",), config.finetuning_of(task))
        for task in config.suite
    ]
    recipes += [(("multitask",), config.multitask_finetuning)] if multitask else []
    for keys, recipe in recipes:
        if recipe.warmup_steps >= recipe.steps:
            given = finetuning.model_fields_set | (multitask.model_fields_set if multitask else set())
            default = "" if "warmup_steps" in given else " (the default)"
            text = f"{recipe.warmup_steps}{default}: expected less than steps, {recipe.steps}"
            yield Mistake((*keys, "warmup_steps"), text)


def _clashing_seeds(config: Config) -> Iterator[Mistake]:
    """What can't stand beside `seeds`: a seed that is set elsewhere, a task called like a column of deviations."""
    if config.seeds is None:
        return
    for index, seed in enumerate(config.seeds):
        if seed in config.seeds[:index]:
            yield Mistake(("seeds", index), f"{seed}: listed twice")
    sections: dict[Keys, Section | None] = {
        ("finetuning",): config.finetuning,
        **{("finetuning", "tasks", task): changes for task, changes in config.finetuning.tasks.items()},
        ("multitask",): config.multitask,
        ("exemplars",): config.exemplars,
    }
    elsewhere = {(*keys, "seed"): getattr(section, "seed", None) for keys, section in sections.items()}
    for keys, set_to in {("seed",): config.seed if "seed" in config.model_fields_set else None, **elsewhere}.items():
        if set_to is not None:
            yield Mistake(keys, f"{set_to}: `seeds` runs all of it once per seed; leave out this key or `seeds`")
    evaluated = (*config.suite, *config.unseen)
    for key in ("suite", "unseen"):
        for index, task in enumerate(getattr(config, key)):
            if task.endswith("_sd") and task.removesuffix("_sd") in (*evaluated, *RESERVED):
                text = (
                    f"{shown(task)}: tables over several seeds have a column of that name; give the task another name"
                )
                yield Mistake((key, index), text)


def _weights_of_others(config: Config, origins: list[int]) -> Iterator[Mistake]:
    """Weights of tasks that are not merged."""
    for origin, merge in zip(origins, config.merges, strict=True):
        for task in merge.weights or {}:
            if task not in config.suite:
                text = f"is not merged{nearest(task, config.suite)}"
                yield Mistake(("merges", origin, "weights", task), text)


def _settings_together(config: Config, origins: list[int]) -> Iterator[Mistake]:
    """Settings of a method that are right one by one; a merge would refuse them after all models were trained."""
    for origin, merge in zip(origins, config.merges, strict=True):
        try:
            load(merge.method).check_together(merge.settings, len(config.suite))
        except TatrError as error:
            yield Mistake(("merges", origin), str(error))


def _same_rows(config: Config, origins: list[int]) -> Iterator[Mistake]:
    rows: dict[str, int] = {}
    for position, merge in enumerate(config.merges):
        if as_seen(merge.row_name) in REFERENCES:
            text = f"{shown(merge.row_name)}: tables have a row of that name; give the merge another name"
            yield Mistake(("merges", origins[position], "name"), text)
        first = rows.setdefault(as_seen(merge.row_name), position)
        if first == position:
            continue
        here, there, name = origins[position], origins[first], shown(merge.row_name)
        if merge == config.merges[first] or not merge.name:
            where = "twice in this sweep" if here == there else f"also made by merges[{there}]"
            yield Mistake(("merges", here), f"the row {name} is {where}; leave one out, or give one a `name`")
        elif here == there:
            count = origins.count(here)
            advice = "leave it out, and each row says what differs, or write the rows one by one"
            yield Mistake(("merges", here, "name"), f"{name}: names all {count} rows of a sweep alike; {advice}")
        else:
            yield Mistake(("merges", here, "name"), f"{name}: merges[{there}] has that name already")
