"""The pages: every link and anchor leads somewhere, and every page can be reached from the README or the index."""

import re
from functools import cache
from pathlib import Path

import pytest

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
