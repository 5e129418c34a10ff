"""Where the project lies: Snakemake runs a job in a clone of a strange name, and says at once where it can't."""

from pathlib import Path

from checkout import TINY, Checkout, copy_sources

STRANGE = 'it\'s a "clone", $(touch ran) `touch ran` & ü 猫; $HOME'


def test_a_clone_of_a_strange_name_works_and_nothing_of_the_name_is_executed(tmp_path: Path) -> None:
    copy_sources(tmp_path / STRANGE)
    clone = Checkout(tmp_path / STRANGE, tmp_path / STRANGE / TINY, tmp_path / "work")
    assert clone.run("--until", "backbone") == {"backbone:tiny-clip"}
    assert len(clone.artefacts()) == 1
    assert [*tmp_path.rglob("ran")] == []
    clone.project.rename(tmp_path / "plain")
    moved = Checkout(tmp_path / "plain", tmp_path / "plain" / TINY, clone.folder)
    assert "backbone:tiny-clip" not in moved.dry_run("--until", "backbone")


def test_a_clone_where_snakemake_runs_nothing_is_refused_in_one_line(tmp_path: Path) -> None:
    project = tmp_path / "a {clone}"
    copy_sources(project)
    refused = Checkout(project, project / TINY, tmp_path / "work").snakemake("--dry-run")
    assert refused.returncode == 1
    said = refused.stdout + refused.stderr
    assert (
        f"'{project}': Snakemake can't run jobs where the project's path has '{{'; rename the folder, or move" in said
    )
    assert "Traceback" not in said
