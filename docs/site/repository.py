"""A hook of mkdocs: the site is laid out as the repository is, so pages' relative links work in both alike.

Pages are the Markdown files of docs/ and those named in `OUTSIDE`. Other text files that a page links to (a
configuration, a module) become pages that show them.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")
LINK = re.compile(r"(?<=\]\()([^()\s#:]+)")
"""The path of a relative link or picture."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".cff": "yaml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """All files of the site, by their paths in the repository."""
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = [*OUTSIDE, *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.*")))]
    copied = [path for path in paths if Path(path).suffix in (".md", ".png", ".css")]
    pages = [path for path in copied if path.endswith(".md")]
    shown = sorted({source for page in pages for source in _sources(page, (ROOT / page).read_text(encoding="utf-8"))})
    return Files(
        [
            *of_theme,
            *(File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in copied),
            *(_shown(path, config) for path in shown),
        ]
    )


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:  # noqa: ANN401
    """Links to files that are shown lead to the pages that show them."""
    sources = _sources(page.file.src_uri, markdown)
    return LINK.sub(lambda link: f"{link[1]}.md" if _path(page.file.src_uri, link[1]) in sources else link[1], markdown)


def _sources(page: str, markdown: str) -> set[str]:
    """Text files, other than pages, that a page links to."""
    return {path for link in LINK.findall(markdown) if (path := _path(page, link)) and _is_source(path)}


def _path(page: str, link: str) -> str:
    """Where a page's link leads, in the repository; empty if out of it."""
    target = (ROOT / page).parent.joinpath(link).resolve()
    return target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""


def _is_source(path: str) -> bool:
    return (ROOT / path).is_file() and Path(path).suffix not in (".md", ".png")


def _shown(path: str, config: MkDocsConfig) -> File:
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    # The schema repeats what default.yaml says, in a form that nobody searches.
    head = "---\nsearch: {exclude: true}\n---\n" if language == "json" else ""
    content = f"{head}# {path}\n\n````{language}\n{text}\n````\n"
    return File.generated(config, f"{path}.md", content=content, inclusion=InclusionLevel.NOT_IN_NAV)
