"""The report of a finished run in a real browser: sorting, filtering, charts, both themes, both widths, no network."""

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from checkout import Checkout, successful
from playwright.sync_api import Browser, Page, sync_playwright

from tatr.errors import TatrError
from tatr.report.page.rendering import BEGIN, END, page_digest, sealed
from tatr.workflow.verification import problems

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium, chromium-browser or google-chrome here: the report was not tried in a browser",
)
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


@dataclass
class Opened:
    """A page in a browser, and what it did that it should not have done."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, path: Path, **context: object) -> "Opened":
        opened = cls(browser.new_context(**context).new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.route("**/*", lambda route: route.continue_() if opened.local(route.request.url) else route.abort())
        opened.page.goto(path.as_uri())
        return opened

    def local(self, url: str) -> bool:
        if not url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"request: {url}")
            return False
        return True

    def ready(self) -> "Opened":
        self.page.wait_for_selector("html[data-ready]", timeout=120_000)
        return self

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def column(self, name: str) -> list[float]:
        """What the visible rows of a column of the main table sort by."""
        return self.page.evaluate(
            """name => {
                const table = document.querySelector("#methods");
                const index = [...table.tHead.rows[0].cells].findIndex(cell => cell.innerText.trim() === name);
                return [...table.tBodies[0].rows].map(row => Number(row.cells[index].dataset.order));
            }""",
            name,
        )

    def shows(self, name: str, expected: list[float]) -> bool:
        """Whether a column comes to that; rows are sorted a moment after a click."""
        for _ in range(40):
            if self.column(name) == expected:
                return True
            self.page.wait_for_timeout(50)
        return False


@pytest.fixture(scope="module")
def path(finished_analyses: Checkout) -> Path:
    return finished_analyses.artefact("report:analyses") / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def wide(browser: Browser, path: Path) -> Opened:
    return Opened.open(browser, path, viewport=WIDE, color_scheme="light").ready()


@pytest.fixture(scope="module")
def phone(browser: Browser, path: Path) -> Opened:
    return Opened.open(browser, path, viewport=PHONE, color_scheme="dark").ready()


@needs_browser
class TestInBrowser:
    def test_no_error_and_no_request(self, wide: Opened, phone: Opened) -> None:
        assert wide.complaints == phone.complaints == []

    def test_nothing_could_be_requested(self, wide: Opened) -> None:
        failed = wide.page.evaluate("fetch('https://example.org/').then(() => 'fetched', () => 'refused')")
        assert failed == "refused"
        assert wide.complaints, "the page's policy is what refuses"
        wide.complaints.clear()

    @pytest.mark.parametrize("window", ["wide", "phone"])
    def test_the_page_is_as_wide_as_the_window(self, window: str, request: pytest.FixtureRequest) -> None:
        assert request.getfixturevalue(window).overflow <= 0

    def test_a_heading_sorts(self, wide: Opened) -> None:
        before = wide.column("average")
        heading = wide.page.locator("#methods thead th", has_text="average").first
        for expected in (sorted(before), sorted(before, reverse=True), before):
            heading.click()
            assert wide.shows("average", expected)

    def test_a_word_filters(self, wide: Opened) -> None:
        rows = wide.page.locator("#methods tbody tr")
        count = rows.count()
        wide.page.get_by_label("Filter rows").first.fill("zero-shot")
        shown = rows.all_inner_texts()
        assert 0 < len(shown) < count
        assert all("zero-shot" in text for text in shown)
        wide.page.get_by_label("Filter rows").first.fill("")
        assert rows.count() == count

    def test_every_chart_has_marks(self, wide: Opened) -> None:
        for place in wide.page.locator("figure .chart").all():
            marks = place.locator("svg.marks g[class*=mark-]:not(.role-frame):not(.mark-group) :is(path, text, line)")
            assert marks.count() > 20
            assert place.locator("[role=graphics-document]").get_attribute("aria-label")

    def test_every_figure_of_the_analyses_is_drawn(self, wide: Opened, finished_analyses: Checkout) -> None:
        pictures = wide.page.locator(".picture img")
        figures = finished_analyses.artefact("figures:analyses").glob("*.svg")
        assert pictures.count() == len({file.stem for file in figures} - {"methods"}) == 12
        for picture in pictures.all():
            assert picture.evaluate(COLOURS) > 5
            assert len(picture.get_attribute("alt") or "") > 40

    def test_another_task_and_row_can_be_looked_at(self, wide: Opened) -> None:
        chart = wide.page.locator("#chart-details")
        before = chart.locator("svg.marks").inner_html()
        chart.locator("label select[name=task]").select_option(label="digits")
        wide.page.wait_for_function(
            "before => document.querySelector('#chart-details svg.marks').innerHTML != before", arg=before
        )
        of_task = chart.locator("svg.marks").inner_html()
        chart.locator("label select[name=row]").select_option(label="Individual")
        wide.page.wait_for_function(
            "before => document.querySelector('#chart-details svg.marks').innerHTML != before", arg=of_task
        )

    def test_the_theme_is_the_systems_until_it_is_chosen(self, wide: Opened, phone: Opened) -> None:
        for opened, first, other in ((wide, "light", "dark"), (phone, "dark", "light")):
            assert _theme(opened) == first
            opened.page.locator("#theme").click()
            assert _theme(opened) == other
            opened.page.locator("#theme").click()
            assert _theme(opened) == first

    def test_text_around_charts_has_the_pages_colour(self, wide: Opened, phone: Opened) -> None:
        for opened in (wide, phone):
            colours = opened.page.evaluate(
                "[...document.querySelectorAll('.role-axis-label text')].map(text => getComputedStyle(text).fill)"
            )
            assert {*colours} == {opened.page.evaluate("getComputedStyle(document.body).color")}

    def test_keyboard_and_screen_reader_find_their_way(self, browser: Browser, path: Path) -> None:
        opened = Opened.open(browser, path, viewport=WIDE).ready()
        opened.page.keyboard.press("Tab")
        skip = opened.page.locator(":focus")
        assert skip.inner_text() == "Skip to the summary"
        assert skip.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
        assert skip.bounding_box()["x"] >= 0
        assert opened.page.locator("h1").count() == opened.page.locator("main").count() == 1
        for region in opened.page.locator("section").all():
            assert opened.page.locator(f"#{region.get_attribute('aria-labelledby')}").count() == 1
        for table in opened.page.locator("table").all():
            assert table.locator("caption").count() == 1
            assert table.locator("thead th:not([scope=col])").count() == 0

    def test_downloads_are_inside_and_can_be_read(self, wide: Opened) -> None:
        links = wide.page.locator("a.download").evaluate_all("all => all.map(link => [link.download, link.href])")
        found = dict(links)
        assert {"methods.csv", "search.csv", "classes.csv", "costs.csv", "similarity.csv"} <= found.keys()
        for name, href in found.items():
            content = base64.b64decode(href.partition("base64,")[2])
            assert len(pd.read_csv(io.BytesIO(content))), name

    def test_snakemakes_own_report_describes_itself_and_leads_here(
        self, browser: Browser, finished_analyses: Checkout, tmp_path: Path
    ) -> None:
        copied = finished_analyses.with_results(tmp_path / "run")
        successful(copied.snakemake("--report", "results/snakemake.html"))
        opened = Opened.open(browser, copied.results / "snakemake.html", viewport=WIDE)
        opened.page.get_by_text("Begin with the report").wait_for(timeout=120_000)
        names = opened.page.evaluate("Object.values(results).map(result => result.name)")
        assert {"methods.html", "search.html"} <= {*names}
        assert not [name for name in names if name.endswith(".csv")]
        opened.page.get_by_role("link", name="one page").click()
        assert opened.ready().page.locator("h1").inner_text() == "Merged models: analyses"


def test_the_digest_leaves_out_what_was_measured_in_seconds(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    measured, rest = rest.split(END)
    stated, close, after = rest.partition(" -->")
    assert "max_rss" not in before + after
    other = tmp_path / "report.html"
    other.write_text(sealed(f"{before}{BEGIN}other seconds{END}{close}{after}"), encoding="utf-8")
    assert page_digest(other) == page_digest(path)
    other.write_text(f"{before}changed{BEGIN}{measured}{END}{stated}{close}{after}", encoding="utf-8")
    assert page_digest(other) != page_digest(path)
    other.write_text(f"{before}{BEGIN}other seconds{END}{stated}{close}{after}", encoding="utf-8")
    with pytest.raises(TatrError, match="what was measured was altered"):
        page_digest(other)


def test_a_damaged_page_is_found(finished_analyses: Checkout, tmp_path: Path) -> None:
    folder = tmp_path / "report" / finished_analyses.artefact("report:analyses").name
    shutil.copytree(finished_analyses.artefact("report:analyses"), folder)
    assert [*problems(folder / "manifest.json")] == []
    page = folder / "report.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<h1>", "<h1>Not "), encoding="utf-8")
    assert "altered" in "".join(problems(folder / "manifest.json"))
    page.write_text(text.partition(END)[0], encoding="utf-8")
    assert "cut short" in "".join(problems(folder / "manifest.json"))


def test_the_page_is_made_anew_with_the_same_digest(finished_analyses: Checkout, tmp_path: Path) -> None:
    copied = finished_analyses.with_results(tmp_path / "run")
    manifest = copied.artefact("report:analyses") / "manifest.json"
    before = manifest.read_text(encoding="utf-8")
    shutil.rmtree(manifest.parent)
    shutil.rmtree(copied.results / "benchmarks")
    assert copied.run() == {"report:analyses"}
    assert manifest.read_text(encoding="utf-8") == before


def test_the_page_is_small_and_names_no_other_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 6e6
    page, _, libraries = text.partition("</footer>")
    assert libraries
    assert 'src="http' not in page and 'href="http' not in page and "@import" not in page


def _theme(opened: Opened) -> str:
    red, *_ = opened.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    return "light" if red > 127 else "dark"


COLOURS = """async image => {
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 200;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 200, 200);
    const data = context.getImageData(0, 0, 200, 200).data;
    return new Set(Array.from({length: 40000}, (_, i) => data.slice(4 * i, 4 * i + 3).join())).size;
}"""
"""How many colours a picture has."""
