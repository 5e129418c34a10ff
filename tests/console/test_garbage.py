"""`tatr gc`: what no configuration refers to is listed, and deleted when asked; nothing else is touched."""

import re
from pathlib import Path

import pytest
from planned_results import make_results

from tatr import attempts
from tatr.attempts import Attempt
from tatr.console.arguments import plan_of
from tatr.console.garbage import main
from tatr.workflow.links import link, links

CONFIG = """
name: {name}
suite: [cars, digits]
finetuning: {{steps: {steps}, warmup_steps: 1}}
merges: [{{method: task_arithmetic, coefficient: 0.3, trust_region: {{sensitivity: zero_shot, tau: 0.01}}}}]
"""

Key = tuple[str, str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where two configurations were run that share their images."""
    monkeypatch.chdir(tmp_path)
    for name, steps in (("mine", 4), ("other", 5)):
        (tmp_path / f"{name}.yaml").write_text(CONFIG.format(name=name, steps=steps))
        plan = plan_of(tmp_path / f"{name}.yaml")
        make_results(plan, tmp_path)
        for kind, targets in links(name, plan.values()).items():
            if kind != "export":
                link(tmp_path / f"results/{name}/.{kind}", targets)
    return tmp_path


def made_by(name: str) -> set[Key]:
    return {key for key in plan_of(Path(f"{name}.yaml")) if key[0] not in ("export", "pretraining")}


def there() -> set[Key]:
    return {path.parts[-3:-1] for path in Path("results").glob("*/*/manifest.json") if not path.parent.is_symlink()}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def gc(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 0
    return capsys.readouterr().out


def test_what_no_configuration_refers_to_is_listed_with_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(folder)
    listed = gc(capsys, "mine.yaml", "other.yaml")
    assert re.fullmatch(r" +0 kB  in 0 of \d+ artefacts that no given configuration refers to\n", listed)
    listed = gc(capsys, "mine.yaml")
    own = made_by("other") - made_by("mine")
    assert ("finetuning", plan_of(Path("other.yaml")).of_kind("finetuning")[0].name) in own
    assert {name for _, name in own} == {*re.findall(r"^ +[\d.]+ kB    (\S+)$", listed, re.MULTILINE)}
    assert f"in {len(own)} of {len(there())} artefacts that no given configuration refers to; --delete" in listed
    bytes_of = sum(path.stat().st_size for kind, name in own for path in Path("results", kind, name).iterdir())
    assert 1000 * len(own) < bytes_of
    assert files(folder) == before


def test_they_are_deleted_with_their_records_and_links(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "deleted" in gc(capsys, "mine.yaml", "--delete")
    assert there() == made_by("mine")
    records = {(path.parent.name, path.stem) for path in Path("results/benchmarks").rglob("*.tsv")}
    assert records == made_by("mine")
    assert (folder / "results/mine/tables/manifest.json").is_file()
    assert not (folder / "results/other").exists()


def test_a_configurations_links_lead_to_what_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, other = newest("mine"), newest("other")
    link(folder / "results/mine/.tables", {"tables": other["tables"]})  # as after another τ, before going back
    link(folder / "results/mine/.export", {"export/a": "export/a-0123456789ab"})
    (folder / "results" / mine["figures"]).rename(folder / "gone")
    link(folder / "results/mine/.figures", {"figures": other["figures"]})
    gc(capsys, "mine.yaml", "--delete")
    assert (folder / "results/mine/tables").resolve() == folder / "results" / mine["tables"]
    assert not (folder / "results/mine/.tables").exists(), "the next run of other.yaml must link anew"
    assert (folder / "results/mine/.report").exists()
    assert (folder / "results/mine/figures").is_symlink(), "left to the run that makes them"
    assert not (folder / "results/mine/export").exists()


def newest(name: str) -> dict[str, str]:
    """What the links of a configuration lead to, but for its exports."""
    found = links(name, plan_of(Path(f"{name}.yaml")).values())
    return {kind: targets[kind] for kind, targets in found.items() if kind != "export"}


def test_nothing_else_is_touched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = next(iter(made_by("other") - made_by("mine")))
    outside = folder / "elsewhere"
    (folder / "results" / own[0] / own[1]).rename(outside)
    (folder / "results" / own[0] / own[1]).symlink_to(outside)
    (folder / "results/report.html").write_text("<html>")
    (folder / "results/thesis").mkdir()
    (folder / "results/thesis/chapter.tex").write_text("years of work")
    (folder / "results/mask/notes").mkdir()
    (folder / "results/elsewhere").symlink_to(outside)
    listed = gc(capsys, "mine.yaml", "--delete", "--unfinished")
    left_alone = listed.partition("not made by the workflow, left alone")[2]
    for path in ("report.html", "thesis/chapter.tex", "mask/notes", "elsewhere", f"{own[0]}/{own[1]}"):
        assert f"results/{path}\n" in left_alone
        assert (folder / "results" / path).exists()
    assert (outside / "manifest.json").is_file() and (outside / "content.bin").is_file()


def test_results_may_lie_on_another_disk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "results").rename(folder / "disk")
    (folder / "results").symlink_to("disk")
    gc(capsys, "mine.yaml", "--delete")
    assert there() == made_by("mine")


def test_what_unfinished_steps_own_is_said_and_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SILENCE", 0.0)
    names = {config: plan_of(Path(f"{config}.yaml")).of_kind("finetuning")[0].name for config in ("mine", "other")}
    remnants = {
        f"{names['mine']}.saved-node7-1-2-3": "the next run goes on from it",
        f"{names['other']}.saved-node7-1-2-4": "no given configuration would go on from it",
        f"{names['mine']}.partial-node7-1-2-5": "being built, or left by a killed step; the next run replaces it",
        f"{names['other']}.partial-node7-1-2-6": "being built, or left by a killed step",
        "cars-0123456789ab": "being built, or left by a killed step",
    }
    for name in remnants:
        (folder / "results/finetuning" / name).mkdir()
    (folder / "results/finetuning" / f"{names['mine']}.saved-node7-1-2-3/state").write_bytes(bytes(5000))
    listed = gc(capsys, "mine.yaml", "--delete")
    assert "of unfinished steps, kept (else: --unfinished)" in listed
    for name, meaning in remnants.items():
        assert re.search(rf" results/finetuning/{re.escape(name)}: {re.escape(meaning)}$", listed, re.MULTILINE)
        assert (folder / "results/finetuning" / name).is_dir()
    with Attempt(folder / "results/finetuning" / names["mine"]) as at_work:
        gc(capsys, "mine.yaml", "--delete", "--unfinished")
        assert at_work.folder.is_dir()
    assert [name for name in remnants if (folder / "results/finetuning" / name).exists()] == []


def test_nothing_is_deleted_while_snakemake_runs_or_where_nothing_would_be_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)
    locks = folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/x")
    with pytest.raises(SystemExit, match=r"snakemake is running here, and nothing was deleted; wait"):
        main(["mine.yaml", "--delete"])
    (locks / "0.output.lock").unlink()
    third = "backbone: {name: ViT-B-32, weights: openai}\nsuite: [scenes, signs]\nmerges: [{method: weight_average}]\n"
    (folder / "third.yaml").write_text(third)
    why = "results: holds nothing of the given configurations, so that nothing is deleted; after a change of code"
    listed = gc(capsys, "third.yaml")
    assert why in listed
    assert "--delete removes these" not in listed
    with pytest.raises(SystemExit, match=why):
        main(["third.yaml", "--delete"])
    assert files(folder) - before == {".snakemake", ".snakemake/locks", "third.yaml"}


def test_an_interrupted_deletion_leaves_no_whole_artefact(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.rmtree", interrupted)
        main(["mine.yaml", "--delete"])
    (left,) = Path("results").glob("*/*.deleted")
    assert f"{left}: left by an interrupted --delete" in gc(capsys, "mine.yaml")
    gc(capsys, "mine.yaml", "--delete", "--unfinished")
    assert there() == made_by("mine")
    assert not left.exists()


def test_mistakes_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"error: none\.yaml: can't be read"):
        main(["mine.yaml", "none.yaml"])
    (folder / "bad.yaml").write_text("suite: [kars, digits]\nmerges: [{method: weight_average}]\n")
    with pytest.raises(SystemExit, match=r"error: bad\.yaml: the configuration has 1 mistake"):
        main(["mine.yaml", "bad.yaml"])
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    with pytest.raises(SystemExit, match=r"empty/results: no such folder; run this where you run snakemake"):
        main(["../mine.yaml"])
