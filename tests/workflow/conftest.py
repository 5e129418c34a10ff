"""Finished tiny runs, made once and shared by all tests (and by the workers of pytest-xdist)."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import real_cases
from checkout import ANALYSES, METHODS, REAL, ROOT, TINY, Checkout, copy_sources, successful


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose run has finished. Tests that change its sources or results make a copy first."""
    return _finished(tmp_path_factory, TINY)


@pytest.fixture(scope="session")
def finished_methods(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The same with the methods that look at images, and with what is made only when asked for."""
    return _finished(tmp_path_factory, METHODS, "all", "exported")


@pytest.fixture(scope="session")
def finished_analyses(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A run with every analysis."""
    return _finished(tmp_path_factory, ANALYSES)


@pytest.fixture(scope="session")
def finished_real(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A run on what users bring: a CLIP of their own, images on disk, one model that was fine-tuned elsewhere."""
    return _finished(tmp_path_factory, REAL, prepare=real_cases.bring)


def _finished(
    tmp_path_factory: pytest.TempPathFactory,
    config: Path,
    *targets: str,
    prepare: Callable[[Path], str] | None = None,
) -> Checkout:
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / config.stem
    checkout = Checkout(shared / "project", shared / "project" / config, shared / "run")
    with _locked(shared.with_suffix(".lock")):
        if not (shared / "output.txt").exists():
            shutil.rmtree(shared, ignore_errors=True)
            copy_sources(checkout.project)
            checkout.folder.mkdir()
            if prepare:
                checkout.config.write_text(prepare(checkout.folder))
            (shared / "output.txt").write_text(successful(checkout.snakemake(*targets)))
    return checkout


@pytest.fixture
def copied(finished: Checkout, tmp_path: Path) -> Checkout:
    """A finished checkout of the test's own, results included."""
    return finished.with_results(tmp_path / "run")


@pytest.fixture(scope="session")
def tiny_config() -> str:
    """Text of the tiny run's configuration."""
    return (ROOT / TINY).read_text()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
