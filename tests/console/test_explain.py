"""`tatr explain`: lineage down to the images, and why an artefact would be made again."""

import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from planned_results import make_results

from tatr.console.arguments import plan_of
from tatr.console.explain import main
from tatr.workflow.artefact import FILE, Manifest
from tatr.workflow.links import link

CONFIG = """
name: mine
suite: [cars, digits]
finetuning: {steps: 4, warmup_steps: 1}
merges:
  - {method: weight_average}
  - {method: ties, density: 0.3, coefficient: 0.3, trust_region: {sensitivity: zero_shot, tau: 0.01}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that was run, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_text(CONFIG, encoding="utf-8")
    make_results(plan_of(path), tmp_path)
    return path


def explain(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def reasons(shown: str) -> dict[str, list[str]]:
    """Per artefact (kind and label) what is said of it."""
    found: dict[str, list[str]] = {}
    for line in shown.partition("Would be made again")[2].splitlines()[1:]:
        if match := re.fullmatch(r"  (\w+/.+)-[0-9a-f]{12}", line):
            found[match[1]] = []
        elif line.startswith("    "):
            found[[*found][-1]].append(line.strip())
    return found


def test_the_lineage_goes_down_to_the_images(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(config)
    evaluation = plan.of_kind("evaluation")[-1]
    shown = explain(capsys, evaluation.folder)
    lines = [line for line in shown.splitlines() if re.search(r" cpu  ", line)]
    kinds = [line.split()[0] for line in lines]
    assert kinds[0] == "evaluation"
    assert {"mask", "sensitivity", "merge", "task_vector", "finetuning", "head", "images", "backbone"} <= {*kinds}
    assert len(kinds) == len({line.split()[1] for line in lines}), "each once"
    (merge,) = (line for line in lines if line.split()[0] == "merge")
    assert re.search(
        r'method ties, settings {"combine":"sum","density":0.3,.*  12\.5    34      cpu   [0-9a-f]{8} ', merge
    )
    assert re.search(r"^    finetuning? |^        finetuning ", "\n".join(lines), re.MULTILINE), "indented by depth"
    assert re.search(r"^  numpy \d", shown, re.MULTILINE)


def test_a_link_a_file_and_a_configuration_name_the_same_artefact(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = plan_of(config).table
    link(Path("results/mine/.tables"), {"tables": f"tables/{table.name}"})
    paths = (table.folder, table.manifest, f"{table.folder}/content.bin", "results/mine/tables", config)
    first, *others = (explain(capsys, path) for path in paths)
    assert first.startswith(f"{table.folder}: content ")
    assert all(other == first for other in others)


def test_a_path_that_means_no_artefact_is_told_apart(config: Path) -> None:
    plan = plan_of(config)
    folders = {kind: f"{kind}/{plan.of_kind(kind)[0].name}" for kind in ("figures", "tables")}
    for kind, folder in folders.items():
        link(Path(f"results/mine/.{kind}"), {kind: folder})
    Path("results/mine/report").symlink_to("../report/mine-0123456789ab")
    Path("notes.txt").write_text("by hand", encoding="utf-8")
    for path, message in {
        "results/mine": "is of no artefact; name what is in it: figures, tables",
        "results": "is of no artefact; name what is in it: backbone, evaluation, figures, finetuning, .* and 1 more",
        "results/tables": f"is of no artefact; name what is in it: {plan.table.name}",
        "results/mine/report": "leads to ../report/mine-0123456789ab, which is not there",
        "results/nothing": "no such path",
        "notes.txt": "is of no artefact",
        ".": "is of no artefact",
    }.items():
        with pytest.raises(SystemExit, match=f"^error: {path}: {message}$"):
            main([path])


def test_an_unchanged_configuration_makes_nothing_again(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing of it would be made again for mine.yaml, with the present code." in explain(
        capsys, config, "--config", config
    )
    assert "Nothing of it would be made again by the present code (whether settings differ: --config FILE)." in explain(
        capsys, config
    )


def test_changed_settings_are_named_where_they_begin(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = Path("changed.yaml")
    changed.write_text(CONFIG.replace("steps: 4", "steps: 5"), encoding="utf-8")
    made = plan_of(config).table.folder
    assert reasons(explain(capsys, made, "--config", changed)) == {
        f"finetuning/{task}": ["steps: 4 → 5"] for task in ("cars", "digits")
    }
    changed.write_text(CONFIG + "  - {method: magmax}\ndisplay: {digits: 2}\n", encoding="utf-8")
    found = reasons(explain(capsys, made, "--config", changed))
    assert [*found] == ["tables/mine"]
    assert "digits: 1 → 2" in found["tables/mine"]
    assert "merges: with magmax_lambda-0.5" in found["tables/mine"]
    changed.write_text(CONFIG.replace("suite: [cars, digits]", "suite: [cars, signs]"), encoding="utf-8")
    found = reasons(explain(capsys, made, "--config", changed))
    assert found["images/digits"] == ["the configuration asks for no images called digits"]


def test_changed_code_is_named_with_and_without_a_configuration(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merge = next(planned for planned in plan_of(config).of_kind("merge") if planned.label.startswith("ties"))
    manifest = Path(merge.manifest)
    stated = Manifest.load(manifest)
    assert stated.code.startswith("merge,tatr.merging.methods.ties:")
    now = stated.code.partition(":")[2]
    replace(stated, code="merge,tatr.merging.methods.ties:0123456789abcdef").save(manifest.parent)
    expected = {"merge/ties_density-0.3": [f"code (merge,tatr.merging.methods.ties): 0123456789abcdef → {now}"]}
    assert reasons(explain(capsys, config)) == expected
    replace(stated, code="merge,tatr.merging.methods.gone:0123456789abcdef").save(manifest.parent)
    assert "no module 'tatr.merging.methods.gone'" in explain(capsys, config)
    replace(stated, code="0123456789abcdef").save(manifest.parent)
    assert "The code of 1 can't be compared" in explain(capsys, config)


def test_lost_and_altered_inputs_are_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(config)
    vector, backbone = plan.of_kind("task_vector")[0], plan.of_kind("backbone")[0]
    (Path(vector.folder) / FILE).unlink()
    replace(Manifest.load(Path(backbone.manifest)), digest="another").save(Path(backbone.folder))
    shown = explain(capsys, config)
    assert re.search(rf"\(task_vectors\) +{vector.name} +not there any more", shown)
    assert f"made from backbone/{backbone.name}, which has other content by now" in reasons(shown)["finetuning/digits"]


def test_long_values_are_cut_unless_the_whole_is_wanted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = plan_of(config).of_kind("head")[0].folder
    last = json.loads(Path(head, FILE).read_text(encoding="utf-8"))["settings"]["templates"][-1]
    assert last not in " ".join(explain(capsys, head).split())
    assert last.split()[-1] in explain(capsys, head, "--whole")


def test_mistakes_are_named(config: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: none\.yaml: can't be read"):
        main(["mine.yaml", "--config", "none.yaml"])
    Path("new.yaml").write_text(CONFIG.replace("name: mine", "name: new"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"error: new\.yaml: has no table in .*; run snakemake --configfile new\.yaml"):
        main(["new.yaml"])


def test_all_fields_of_an_ancestor_are_shown_or_walked() -> None:
    shown = {"kind", "name", "settings", "inputs", "code", "device", "versions", "digest"}
    assert {field.name for field in dataclasses.fields(Manifest)} - shown == {"content", "metadata"}
