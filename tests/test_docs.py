"""The pages: every link and anchor leads somewhere, and every page can be reached from the README or the index."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tatr.console import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STARTS = (ROOT / "README.md", ROOT / "docs/README.md")


@cache
def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[str, str]]:
    """Path (empty: the page itself) and anchor of each relative link and picture."""
    targets = re.findall(r"\]\(([^()\s]+)\)", prose(page))
    return [tuple(target.partition("#")[::2]) for target in targets if "://" not in target]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: no file {path}"
        assert target.is_relative_to(ROOT), f"{name(page)}: {path} leads out of the repository"
        assert not anchor or anchor in anchors(target), f"{name(page)}: no heading {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w./-])(?:workflow_scripts|tests|benchmarks|backbones|rules)/[\w./-]*[\w/]", text)
    named += [f"workflow_scripts/{path}" for path in re.findall(r"(?<![\w./-])tatr/[\w./-]*[\w/]", text)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_reached_from_the_readme_or_the_index() -> None:
    reached: set[Path] = set()
    waiting = list(STARTS)
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = [(page.parent / path).resolve() for path, _ in links(page) if path.endswith(".md")]
            waiting += [target for target in targets if target in PAGES]
    assert [name(page) for page in PAGES if page not in reached] == []


def test_every_page_of_the_docs_is_listed_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    listed = {(index.parent / path).resolve() for path, _ in links(index)}
    methods = ROOT / "docs/merging/methods"  # which merging/methods.md lists
    assert [name(page) for page in PAGES[2:] if page not in listed | {index} and page.parent != methods] == []


COMMAND = re.compile(r"^(?:\$ )?(?:snakemake|tatr|python) ", re.MULTILINE)
"""A line of a block that is a command of the environment."""

ACTIVATION = ".venv/bin/activate"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_commands_are_those_of_the_activated_environment(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"\.venv/bin/(?!activate)\S*", text) == []
    of_the_console = "|".join(module for module in COMMANDS.values())
    assert re.findall(rf"python workflow_scripts/(?:{of_the_console})\.py", text) == [], "it is `tatr …`"
    assert re.findall(r"python -m snakemake|snakemake .*-c ?\d", text) == [], "it is `snakemake --cores N …`"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "config/README.md", ROOT / "docs/data/own-images.md"], ids=name
)
def test_where_people_begin_the_environment_is_activated_first(page: Path) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    before, activated, _ = "".join(blocks).partition(ACTIVATION)
    assert activated
    assert COMMAND.findall(before) == []


def test_the_readme_says_how_the_environment_is_made() -> None:
    assert "make install" in (ROOT / "README.md").read_text(encoding="utf-8")
    made = subprocess.run(
        ["make", "--dry-run", "--always-make", "install"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    packages, _, project = made.stdout.partition("uv pip sync")[2].partition("--editable .")
    assert packages and project, "the project comes last, as uv removes what the lock does not name"
    assert made.stdout.count("--editable .") == 2, "with uv and with pip"
