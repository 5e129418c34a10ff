"""`tatr verify --repair` makes damaged artefacts again, each by its name, and nothing that was made from them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import Checkout
from test_faults import alter_manifest, delete_file, delete_shard, delete_store, flip_byte, truncate

from tatr import attempts
from tatr.workflow.artefact import FILE, Manifest


def lose_manifest(artefact: Path) -> None:
    (artefact / FILE).unlink()


def make_a_folder_of_a_file(artefact: Path) -> None:
    (artefact / "classnames.json").unlink()
    (artefact / "classnames.json").mkdir()


def make_a_file_of_a_store(artefact: Path) -> None:
    shutil.rmtree(artefact / "vector.zarr")
    (artefact / "vector.zarr").write_text("not a store")


def add_a_file(artefact: Path) -> None:
    (artefact / "copy of scores.json").write_text("{}")


def rewrite_content_and_manifest(artefact: Path) -> None:
    """An artefact that is whole in itself, and made from something else than what stands there."""
    manifest = Manifest.load(artefact / FILE)
    manifest.inputs["task_vectors"] = dict.fromkeys(manifest.inputs["task_vectors"], "0" * 32)
    manifest.save(artefact)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "images:cars": delete_shard,
    "images:digits": flip_byte,
    "images:textures": alter_manifest,
    "finetuning:cars": flip_byte,
    "head:cars": delete_file,
    "head:digits": make_a_folder_of_a_file,
    "task_vector:cars": truncate,
    "task_vector:digits": lose_manifest,
    "task_vector:textures": make_a_file_of_a_store,
    "gradient:digits_n-8": delete_store,
    "sensitivity:zero_shot": rewrite_content_and_manifest,
    "merge:weight_average": add_a_file,
}


def repaired(run: Checkout, *arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The command, and the jobs that it ran."""
    before = _times(run)
    done = run.script("verify", *arguments, "--cores", "2", "--repair", str(run.config))
    return done, {job for job, time in _times(run).items() if before.get(job) != time}


def _times(run: Checkout) -> dict[str, int]:
    return {
        str(path.parent.relative_to(run.results)): path.stat().st_mtime_ns for path in run.results.glob(f"*/*/{FILE}")
    }


def test_exactly_what_is_damaged_is_made_again(copied: Checkout) -> None:
    whole = copied.manifests()
    for job, damage in DAMAGES.items():
        damage(copied.artefact(job))
    dead = copied.results / f"mask/gradient.partial-{attempts._space()}-99999999-1"
    dead.mkdir()
    living = copied.results / f"mask/random.partial-{attempts._owner()}"
    shutil.copytree(copied.artefact("mask:zero_shot_tau-0.01"), living)
    state = copied.results / f"finetuning/signs-0123456789ab.saved-{attempts._space()}-99999999-1"
    state.mkdir()

    done, jobs = repaired(copied)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "made again" in done.stdout
    assert jobs == {str(copied.artefact(job).relative_to(copied.results)) for job in DAMAGES}
    assert not dead.exists()
    assert (living / FILE).is_file()
    shutil.rmtree(living)
    assert copied.manifests() == whole
    assert state.exists()
    assert f"{state.name}: an attempt's state; the next one goes on from it" in done.stdout
    assert "verified" in copied.script("verify").stdout
    assert copied.dry_run() == set()


def test_an_artefact_of_another_configuration_is_named_and_left(
    copied: Checkout, tiny_config: str, tmp_path: Path
) -> None:
    damaged = copied.artefact("mask:zero_shot_tau-0.01")
    truncate(damaged)
    other = copied.with_config(tmp_path / "other.yaml", tiny_config.replace("tau: 0.01", "tau: 0.03"))

    done, jobs = repaired(other)

    assert done.returncode == 1
    assert (
        f"{damaged.relative_to(copied.folder)}: none of these configurations, with the present code, asks for it"
        in done.stdout
    )
    assert jobs == set()
    assert (damaged / FILE).is_file()


def test_a_configuration_that_can_t_be_read_is_one_line(copied: Checkout, tmp_path: Path) -> None:
    damaged = copied.artefact("mask:zero_shot_tau-0.01")
    truncate(damaged)

    done, jobs = repaired(copied.with_config(tmp_path / "other.yaml", "suite: [cars]"))

    assert (done.returncode, jobs) == (1, set())
    assert done.stderr.startswith(f"error: {tmp_path / 'other.yaml'}: the configuration has")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folder", ["results/head", "results"])
def test_a_part_of_the_results_is_repaired_alone(copied: Checkout, folder: str) -> None:
    for job in ("head:cars", "mask:zero_shot_tau-0.01"):
        (alter_manifest if job.startswith("mask") else delete_file)(copied.artefact(job))

    done, jobs = repaired(copied, folder)

    assert done.returncode == 0, done.stdout + done.stderr
    assert {job.split("/")[0] for job in jobs} == ({"head"} if folder == "results/head" else {"head", "mask"})
