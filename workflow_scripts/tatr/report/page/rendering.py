"""From what a run made to the text of the page: everything is inlined, and nothing is ever fetched."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import tatr
from tatr.digests import ContentDigest
from tatr.errors import REPAIR, TatrError
from tatr.report.page.charts import Specification
from tatr.report.page.files import TEMPLATES
from tatr.report.page.main_table import Shown

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end "
"""Around what was measured in seconds: two runs that compute the same differ there. Its own digest follows."""


@dataclass(frozen=True)
class TextTable:
    """A table of text: its heading, its lines, and how many columns, from the left, are words and not figures."""

    heading: Sequence[str]
    lines: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True)
class Picture:
    """A figure of an analysis."""

    name: str
    title: str
    caption: str
    svg: bytes


@dataclass(frozen=True)
class Content:
    """All that the page shows."""

    title: str
    summary: Sequence[str]
    warnings: Sequence[str]
    table: Shown
    table_notes: Sequence[str]
    charts: Mapping[str, Specification]
    """`methods`, `tasks` and `details`."""
    pictures: Sequence[Picture]
    paper: TextTable | None
    paper_notes: Sequence[str]
    published: TextTable | None
    published_notes: Sequence[str]
    classes_shown: int
    """Classes of a task that the details draw at most."""
    stages: TextTable
    costs: TextTable
    costs_notes: Sequence[str]
    configuration: str
    made: TextTable
    artefacts: TextTable
    downloads: Mapping[str, str]
    """Per name of a CSV file its text."""
    measured_downloads: Mapping[str, str] = field(default_factory=dict)
    """The same, of what was measured in seconds."""


def rendered(content: Content) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "embedded": _embedded, "order": _order}
    inlined = {
        path.stem: Markup(path.read_text(encoding="utf-8")) for path in (TEMPLATES / "style.css", TEMPLATES / "page.js")
    }
    page = environment.get_template("page.html.jinja").render(
        content=content,
        version=tatr.__version__,
        begin=Markup(BEGIN),
        end=Markup(END),
        inlined=inlined | _libraries(),
    )
    return sealed(page)


def sealed(page: str) -> str:
    """A page whose measured part states its own digest, as it is in no other."""
    before, _, rest = page.partition(BEGIN)
    measured, _, after = rest.partition(END)
    return f"{before}{BEGIN}{measured}{END}{ContentDigest(measured.encode()).hexdigest()}{after}"


def page_digest(path: Path) -> str:
    """Digest of a page but for what was measured in seconds, so that equal results have equal digests.

    Raises:
        TatrError: the file is not such a page, or its measured part was altered.
    """
    parts = re.fullmatch(f"(.*){BEGIN}(.*){END}(\\w*)( -->.*)".encode(), path.read_bytes(), re.DOTALL)
    if not parts:
        raise TatrError(f"{path}: not a page of this kind, or cut short; {REPAIR}")
    before, measured, stated, after = parts.groups()
    if ContentDigest(measured).hexdigest().encode() != stated:
        raise TatrError(f"{path}: what was measured was altered; {REPAIR}")
    return ContentDigest(before + after).hexdigest()


def _libraries() -> dict[str, Markup]:
    """Vega and DataTables, each once."""
    import itables
    import vl_convert

    tables = Path(itables.__file__).parent / "html"
    texts = {
        "vega": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
        "datatables": (tables / "dt_bundle.js").read_text(encoding="utf-8"),
        "datatables_style": (tables / "dt_bundle.css").read_text(encoding="utf-8"),
    }
    return {name: Markup(text.replace("</script", r"<\/script")) for name, text in texts.items()}


def _data_uri(content: bytes | str, kind: str) -> str:
    data = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _embedded(value: Any) -> Markup:  # noqa: ANN401  (any JSON value)
    """JSON that can stand in a script element."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c"))


def _order(value: float | None) -> str:
    return "-1e9" if value is None or pd.isna(value) else f"{value:.6f}"
