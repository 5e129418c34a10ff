"""`results/NAME` leads to the newest results of a configuration, also after going back to an old setting."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT, Checkout

from tatr.errors import TatrError
from tatr.workflow.links import link, linked, links
from tatr.workflow.plan.artefacts import Planned


def planned(kind: str, label: str, **settings: object) -> Planned:
    return Planned(kind, label, settings, {}, (kind,))


class TestWhatIsLinked:
    def test_kinds_that_people_look_at_by_kind_or_label(self) -> None:
        table, one, other = planned("tables", "demo"), planned("export", "a+b"), planned("export", "c")
        assert links("demo", [planned("mask", "m"), table, one, other]) == {
            "tables": {"tables": f"tables/{table.name}"},
            "export": {"export/a+b": f"export/{one.name}", "export/c": f"export/{other.name}"},
        }

    def test_exports_of_one_label_are_told_apart(self) -> None:
        two = [planned("export", "ties", rank=rank) for rank in (1, 2)]
        assert [*links("demo", two)["export"]] == [f"export/{each.name}" for each in two]

    @pytest.mark.parametrize("name", ["tables", "Mask", "benchmarks", "EXPORT"])
    def test_a_name_that_is_a_folder_of_its_own_is_refused(self, name: str) -> None:
        with pytest.raises(
            TatrError, match=f"name: '{name}': results/{name} holds results of all configurations; give"
        ):
            links(name, [])


class TestLinking:
    @pytest.fixture(params=["links", "no links"])
    def results(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Results on a file system with symbolic links, and on one without."""
        if request.param == "no links":

            def refuse(*_: object, **__: object) -> None:
                raise OSError("Operation not permitted")

            monkeypatch.setattr(Path, "symlink_to", refuse)
        for name in ("tables/demo-1", "tables/demo-2", "export/a-1", "export/b-1"):
            (tmp_path / name).mkdir(parents=True)
        return tmp_path

    def test_they_lead_there_are_moved_and_removed(self, results: Path) -> None:
        folder = results / "demo"
        for number in (1, 2, 2):
            link(folder / ".tables", {"tables": f"tables/demo-{number}"})
            assert self.targets(folder, "tables") == {"tables": results / f"tables/demo-{number}"}
        exports = {"export/a": "export/a-1", "export/b": "export/b-1"}
        link(folder / ".export", exports)
        assert self.targets(folder, "export") == {path: results / target for path, target in exports.items()}
        link(folder / ".export", {"export/b": "export/b-1"})
        assert self.targets(folder, "export") == {"export/b": results / "export/b-1"}
        link(folder / ".export", {})
        assert sorted(path.name for path in folder.iterdir()) == [".export", ".tables", "tables"]

    def test_the_results_may_be_moved_as_a_whole(self, results: Path, tmp_path: Path) -> None:
        link(results / "demo/.tables", {"tables": "tables/demo-1"})
        moved = tmp_path.with_name(f"{tmp_path.name}-moved")
        results.rename(moved)
        assert self.targets(moved / "demo", "tables") == {"tables": moved / "tables/demo-1"}

    def test_what_is_no_link_is_not_replaced(self, results: Path) -> None:
        (results / "demo").mkdir()
        for content in ("my own notes", "../" + "x" * 9000):
            (results / "demo/tables").write_text(content)
            with pytest.raises(
                TatrError, match=r"demo/tables: is no link, but one to .* is to stand here; move it away"
            ):
                link(results / "demo/.tables", {"tables": "tables/demo-1"})
        assert not (results / "demo/.tables").exists()
        line = [sys.executable, str(ROOT / "workflow_scripts/links.py"), "--record", str(results / "demo/.tables")]
        done = subprocess.run([*line, "--targets", '{"tables": "tables/demo-1"}'], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith("error: ")

    @staticmethod
    def targets(folder: Path, kind: str) -> dict[str, Path]:
        return {path: target.resolve() for path, target in linked(folder, kind).items()}


class TestRuns:
    def test_links_follow_the_configuration_and_run_only_when_they_lead_elsewhere(
        self, copied: Checkout, tiny_config: str, tmp_path: Path
    ) -> None:
        table = copied.results / "tiny/tables"
        first = table.resolve()
        assert first == copied.artefact("tables:tiny").resolve()
        assert (table / "methods.csv").is_file()
        assert (copied.results / "tiny/figures/methods.png").is_file()
        assert "rule links" not in copied.plan()
        fewer = tiny_config.replace("  - {method: weight_average}\n", "")
        other = copied.with_config(tmp_path / "fewer.yaml", fewer)
        assert other.run() == {"tables:tiny", "figures:tiny", "report:tiny"}
        assert table.resolve() != first
        assert json.loads((table / "manifest.json").read_text())["name"] == table.resolve().name
        assert "rule links" not in other.plan()
        assert copied.run() == set(), "going back makes nothing but the links"
        assert table.resolve() == first
        assert "rule links" not in copied.plan()

    def test_a_configuration_is_not_called_like_a_kind(
        self, finished: Checkout, tiny_config: str, tmp_path: Path
    ) -> None:
        mistaken = finished.with_config(tmp_path / "c.yaml", tiny_config.replace("name: tiny", "name: figures"))
        done = mistaken.snakemake("--dry-run")
        assert done.returncode != 0
        assert "name: 'figures': results/figures holds results of all configurations" in done.stdout + done.stderr

    def test_exports_are_linked_by_their_labels(self, finished_methods: Checkout) -> None:
        folder = finished_methods.results / "methods/export"
        exported = [path.parent for path in finished_methods.results.glob("export/*/README.md")]
        assert {path.resolve() for path in folder.iterdir()} == {path.resolve() for path in exported}
        assert all((path / "open_clip_model.safetensors").is_file() for path in folder.iterdir())
