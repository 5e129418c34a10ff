"""The site of the pages: it builds, needs nothing from elsewhere, and a dead link or a page out of reach stops it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("material", reason="mkdocs-material is not installed")

ROOT = Path(__file__).parent.parent
Build = Callable[[], subprocess.CompletedProcess[str]]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository without what git ignores and other folders that pages do not need."""
    for name in ("docs", "config", "profiles", "workflow_scripts", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("[A-Z]*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    return tmp_path


def build(root: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mkdocs", "build", "--config-file", "docs/site/mkdocs.yml"]
    return subprocess.run(line, capture_output=True, text=True, cwd=root)


def test_the_site_builds_and_loads_nothing_from_elsewhere(copy: Path) -> None:
    done = build(copy)
    assert done.returncode == 0, done.stderr
    site = copy / "build/docs-site"
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(?:https?:)?//[^>]*", text)
        loaded += re.findall(
            r"<link\b(?=[^>]*\brel=\"?(?:stylesheet|preload|preconnect|icon))[^>]*(?:https?:)?//[^>]*", text
        )
        assert loaded == [], page
    assert not re.search(r"url\(\"?(?:https?:)?//", "".join(css.read_text() for css in site.rglob("*.css")))
    # A page links to a page outside docs/, and to a file that is shown as one.
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="config/index.html"' in start and 'href="config/default.yaml.html"' in start
    assert "coefficient" in (site / "config/default.yaml.html").read_text(encoding="utf-8")
    assert "trust_region" in (site / "search/search_index.json").read_text(encoding="utf-8")


def test_dead_links_and_pages_out_of_reach_stop_it(copy: Path) -> None:
    (copy / "docs/orphan.md").write_text("# Orphan\n")
    with (copy / "docs/README.md").open("a") as page:
        page.write("\n[a](gone.md) [b](../config/gone.yaml) [c](analyses.md#gone)\n")
        page.write("[d](../tests/) ![e](images/gone.png)\n")
    done = build(copy)
    assert done.returncode != 0
    for mistake in (
        "docs/orphan.md",
        "'gone.md'",
        "'../config/gone.yaml'",
        "'analyses.md#gone'",
        "'images/gone.png'",
        "'../tests/'",
    ):
        assert mistake in done.stderr
    assert done.stderr.count("WARNING -") == 6
