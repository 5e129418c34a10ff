"""A change re-runs what it invalidates and nothing else."""

from pathlib import Path

import pytest
from analysis_cases import ANALYSIS_CASES
from case import Case
from checkout import ROOT, Checkout
from document_reruns import PAGE, page
from jobs import EVERYTHING, zero_shot
from method_cases import METHOD_CASES
from real_cases import EVERYTHING as EVERYTHING_BROUGHT
from real_cases import REAL_CASES
from rerun_cases import CASES


def test_run_from_nothing_makes_everything(finished: Checkout, tmp_path: Path) -> None:
    assert Checkout(finished.project, finished.config, tmp_path).dry_run() == EVERYTHING


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_change_reruns(case: Case, finished: Checkout, tiny_config: str, tmp_path: Path) -> None:
    assert case.apply(finished, tiny_config, tmp_path) == case.jobs


@pytest.mark.parametrize("case", METHOD_CASES, ids=lambda case: case.name)
def test_change_of_a_method_reruns(case: Case, finished_methods: Checkout, tmp_path: Path) -> None:
    assert case.apply(finished_methods, finished_methods.config.read_text(), tmp_path) == case.jobs


@pytest.mark.parametrize("case", ANALYSIS_CASES, ids=lambda case: case.name)
def test_change_of_an_analysis_reruns(case: Case, finished_analyses: Checkout, tmp_path: Path) -> None:
    assert case.apply(finished_analyses, finished_analyses.config.read_text(), tmp_path) == case.jobs


def test_run_on_what_users_bring_makes_everything(finished_real: Checkout) -> None:
    made = {f"{folder.parts[-2]}:{folder.name[:-13]}" for folder in finished_real.artefacts()}
    assert made == EVERYTHING_BROUGHT


@pytest.mark.parametrize("case", REAL_CASES, ids=lambda case: case.name)
def test_change_of_what_users_bring_reruns(case: Case, finished_real: Checkout, tmp_path: Path) -> None:
    assert case.apply(finished_real, finished_real.config.read_text(), tmp_path) == case.jobs


def test_going_back_finds_the_old_results(copied: Checkout, tiny_config: str, tmp_path: Path) -> None:
    text = tiny_config.replace("zero_shot, tau: 0.01", "zero_shot, tau: 0.02")
    changed = copied.with_config(tmp_path / "changed.yaml", text)
    before = copied.manifests()

    assert changed.run() == zero_shot(0.02)
    assert changed.dry_run() == set()
    assert copied.dry_run() == set()
    assert before.items() <= copied.manifests().items()


def test_page_about_reruns_is_up_to_date() -> None:
    assert (ROOT / PAGE).read_text() == page(), (
        f"run: python {Path(__file__).with_name('document_reruns.py').relative_to(ROOT)}"
    )
