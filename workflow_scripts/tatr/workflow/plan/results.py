"""Planned: what people look at, the table and its figure, and the check that comes before both."""

from tatr.errors import TatrError
from tatr.report.paper.matching import individual
from tatr.workflow.plan.artefacts import Draft, Planned
from tatr.workflow.plan.ingredients import ALL_TASKS, paper_name
from tatr.workflow.plan.merges import evaluation, reference
from tatr.workflow.plan.tables import paper_of


def references(draft: Draft) -> dict[str, list[Planned]]:
    """The rows that are not merges."""
    rows = {
        "Pre-trained": [reference(draft, None)],
        "Individual": [reference(draft, task) for task in draft.tasks],
    }
    return rows | ({"Traditional MTL": [reference(draft, ALL_TASKS)]} if draft.config.multitask else {})


def sanity(draft: Draft) -> Planned | None:
    """The individual models' accuracies against what is expected of them, if the configuration says so."""
    section = draft.config.sanity
    if section is None:
        return None
    settings = {"expected": _expected(draft), "tolerance": section.tolerance, "stop": section.stop}
    settings["stated_by"] = "the paper" if section.expected == "paper" else "the configuration"
    evaluations = [reference(draft, task) for task in draft.tasks]
    return draft.add("sanity", draft.config.name, settings, {"evaluations": evaluations})


def tables(draft: Draft, rows: dict[str, list[Planned]]) -> Planned:
    """The methods table: references, and all merges in the order they are shown."""
    merges = {planned.name: planned for planned in (evaluation(draft, merge) for merge in draft.config.merges)}
    checked = sanity(draft)
    inputs = {
        "references": [planned for row in rows.values() for planned in row],
        "merges": [*merges.values()],
        "sanity": [checked] if checked else [],
    }
    return draft.add("tables", draft.config.name, {}, inputs)


def figures(draft: Draft, table: Planned, analyses: list[Planned]) -> Planned:
    """Plots of the table and of the analyses."""
    modules = [f"tatr.report.{folder}.{name}" for name in _names(analyses) for folder in ("analyses", "plots")]
    return draft.add("figures", draft.config.name, {}, {"table": [table], "analyses": analyses}, modules)


def _names(analyses: list[Planned]) -> list[str]:
    return [*dict.fromkeys(planned.settings["analysis"] for planned in analyses)]


def _expected(draft: Draft) -> dict[str, float]:
    """Expected accuracy in percent, per task."""
    assert draft.config.sanity
    if isinstance(expected := draft.config.sanity.expected, dict):
        return {task: value for task, value in sorted(expected.items()) if task in draft.tasks}
    paper = paper_of(draft)
    if paper is None:
        raise TatrError(
            "sanity.expected: paper: the paper's tables cover ViT-B/32, ViT-B/16 and ViT-L/14 with OpenAI's weights "
            "(backbone: {name: ViT-B-32-quickgelu, weights: openai}) on its eight tasks. For other models, write "
            "{TASK: accuracy in %}"
        )
    accuracies = individual(paper)
    return {task: accuracies[str(paper_name(draft, task))] for task in draft.tasks}
