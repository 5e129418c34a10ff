"""Planned: what people look at, the table, its figure and the report; and the check that comes before all."""

from collections.abc import Collection, Mapping, Sequence

from tatr.errors import TatrError
from tatr.report.paper.matching import individual
from tatr.workflow.plan.artefacts import Draft, Planned
from tatr.workflow.plan.ingredients import head, paper_name
from tatr.workflow.plan.merges import evaluation, reference, references, task_vectors
from tatr.workflow.plan.published import sets
from tatr.workflow.plan.tables import paper_of

STATED_BY = {"paper": "the paper", "published": "the nearest of the published sets"}
"""Who expects accuracies that the configuration doesn't list."""


def sanity(draft: Draft) -> Planned | None:
    """The individual models' accuracies against what is expected of them, if the configuration says so."""
    section = draft.config.sanity
    if section is None:
        return None
    settings = {
        **{"expected": _expected(draft), "tolerance": section.tolerance, "stop": section.stop},
        "stated_by": STATED_BY[section.expected] if isinstance(section.expected, str) else "the configuration",
        **({"sets": known} if (known := sets(draft)) else {}),
    }
    evaluations = [reference(draft, task) for task in draft.tasks]
    return draft.add("sanity", draft.config.name, settings, {"evaluations": evaluations})


def tables(drafts: Sequence[Draft]) -> Planned:
    """The methods table: references, and all merges in the order they are shown; of each seed in turn."""
    rows = [planned for draft in drafts for row in references(draft).values() for planned in row]
    merges = [evaluation(draft, merge) for draft in drafts for merge in draft.config.merges]
    first = drafts[0]
    checked = sanity(first)  # of several seeds, models of the first stand for all
    inputs = {
        "references": [*{planned.name: planned for planned in rows}.values()],
        "merges": [*{planned.name: planned for planned in merges}.values()],
        "task_vectors": [*{planned.name: planned for draft in drafts for planned in task_vectors(draft)}.values()],
        "sanity": [checked] if checked else [],
    }
    return first.add("tables", first.config.name, {}, inputs)


def figures(draft: Draft, table: Planned, analyses: Mapping[str, Sequence[Planned]]) -> Planned:
    """Plots of the table and of the analyses."""
    modules = [f"tatr.report.{folder}.{name}" for name in analyses for folder in ("analyses", "plots")]
    # What no seed shapes is one artefact.
    distinct = {planned.name: planned for group in analyses.values() for planned in group}
    inputs = {"table": [table], "analyses": [*distinct.values()]}
    return draft.add("figures", draft.config.name, {}, inputs, modules)


def report(draft: Draft, table: Planned, drawn: Planned, analyses: Collection[str]) -> Planned:
    """One page about all of it."""
    modules = [f"tatr.report.{folder}.{name}" for name in analyses for folder in ("analyses", "plots")]
    inputs = {
        **{"table": [table], "figures": [drawn]},
        **{role: table.inputs[role] for role in ("references", "merges")},
        "heads": [head(draft, task) for task in (*draft.tasks, *draft.unseen)],
    }
    return draft.add("report", draft.config.name, {}, inputs, modules)


def _expected(draft: Draft) -> dict[str, float] | None:
    """Expected accuracy in percent, per task; None for those of the nearest published set, which the job finds."""
    assert draft.config.sanity
    if isinstance(expected := draft.config.sanity.expected, dict):
        return {task: value for task, value in sorted(expected.items()) if task in draft.tasks}
    if expected == "published":
        if not sets(draft):
            raise TatrError(
                "sanity.expected: published: the published sets have ViT-B/32, ViT-B/16 and ViT-L/14 with OpenAI's "
                "weights (backbone: {name: ViT-B-32-quickgelu, weights: openai}) on tasks of suite: vision20. For "
                "other models, write {TASK: accuracy in %}"
            )
        return None
    paper = paper_of(draft)
    if paper is None:
        raise TatrError(
            "sanity.expected: paper: the paper's tables cover ViT-B/32, ViT-B/16 and ViT-L/14 with OpenAI's weights "
            "(backbone: {name: ViT-B-32-quickgelu, weights: openai}) on its eight tasks. For other models, write "
            "{TASK: accuracy in %}"
        )
    accuracies = individual(paper)
    return {task: accuracies[str(paper_name(draft, task))] for task in draft.tasks}
