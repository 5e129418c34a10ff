"""A stage is complete: whoever adds one and forgets a place is told which."""

import re
from collections.abc import Iterator

import pytest
from checkout import ROOT
from document_reruns import STAGES
from rerun_cases import CASES, FURTHER

from tatr.workflow.plan.artefacts import Draft
from tatr.workflow.step import Step, kinds, step

SCRIPTS, RULES = ROOT / "workflow_scripts", ROOT / "rules"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLAN = "".join(path.read_text(encoding="utf-8") for path in (SCRIPTS / "tatr/workflow/plan").glob("*.py"))
PROVEN = {job.partition(":")[0] for cases in (CASES, *FURTHER.values()) for case in cases for job in case.jobs}
ONLY_WHEN_ASKED_FOR = {"pretraining", "download", "export"}
"""No change of a finished run makes these run again; tests of their own start them."""


def rule_files() -> set[str]:
    return {path.stem for path in RULES.glob("*.smk")} - {"common", "targets"}


def missing_places(kind: str) -> Iterator[str]:
    """The places of CONTRIBUTING.md ("A stage") where a kind is missing."""
    rule = RULES / f"{kind}.smk"
    if kind not in kinds():
        yield f"workflow_scripts/{kind}.py: a command that declares STEP = Step(run, kind={kind!r}, …)"
    if not rule.is_file():
        yield f"rules/{kind}.smk: the rule"
    elif not re.search(rf"^ *rule {kind}:", text := rule.read_text(encoding="utf-8"), re.MULTILINE):
        yield f"rules/{kind}.smk: `rule {kind}:`"
    elif f'command_of("{kind}"' not in text:
        yield f'rules/{kind}.smk: `shell: command_of("{kind}")`'
    if f'include: "rules/{kind}.smk"' not in (ROOT / "Snakefile").read_text(encoding="utf-8"):
        yield f'Snakefile: include: "rules/{kind}.smk"'
    if not re.search(rf'\.add\(\s*"{kind}"', PLAN):
        yield f'workflow_scripts/tatr/workflow/plan/: draft.add("{kind}", …)'
    if kind not in (*STAGES, *ONLY_WHEN_ASKED_FOR):
        yield "tests/workflow/document_reruns.py: its place among STAGES"
    if kind not in PROVEN | ONLY_WHEN_ASKED_FOR:
        yield "tests/workflow/*_cases.py: a change after which it runs again"


@pytest.mark.parametrize("kind", sorted({*kinds(), *rule_files()}))
def test_a_stage_has_all_its_places(kind: str) -> None:
    missing = list(missing_places(kind))
    assert not missing, f"the stage '{kind}' lacks:\n  " + "\n  ".join(missing)


def test_a_forgotten_place_is_named() -> None:
    named = "\n".join(missing_places("nonsense"))
    for place in ("workflow_scripts/nonsense.py", "rules/nonsense.smk", "Snakefile", "/plan/", "_cases.py"):
        assert place in named


def test_the_contributors_page_lists_the_places() -> None:
    for place in (
        "workflow_scripts/KIND.py",
        "rules/KIND.smk",
        "Snakefile",
        "workflow/plan/",
        "tests/workflow/document_reruns.py",
        "tests/workflow/",
    ):
        assert place in CONTRIBUTING, place


@pytest.mark.parametrize("kind", kinds())
def test_what_a_step_reads_is_made_by_steps(kind: str) -> None:
    declared: Step = step(kind)
    for role in declared.reads:
        assert {*declared.kinds(role)} <= {*kinds()}, role


def test_a_plan_that_a_command_cannot_read_is_refused() -> None:
    draft = Draft(config=None, source=None)  # `add` looks at neither
    omega = draft.add("sensitivity", "omega", {})
    with pytest.raises(ValueError, match=r"mask\.py reads .*'sensitivity'.*, but gradients is planned as sensitivity"):
        draft.add("mask", "m", {}, {"gradients": [omega]})
    with pytest.raises(ValueError, match=r"task_vectors is planned as sensitivity"):
        draft.add("merge", "m", {}, {"task_vectors": [omega]})
    assert draft.add("mask", "m", {"tau": 0.1}, {"sensitivity": [omega]}).inputs == {"sensitivity": [omega]}
