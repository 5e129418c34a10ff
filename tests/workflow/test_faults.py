"""What goes wrong is noticed, named, and undone by the next run."""

import re
import shlex
from pathlib import Path

import edits
import pytest
from checkout import Checkout
from jobs import evaluated, merged

MASK = "mask:zero_shot_tau-0.02"
TAU = "zero_shot, tau: 0.01"


@pytest.fixture
def waiting(copied: Checkout, tiny_config: str, tmp_path: Path) -> Checkout:
    """A finished checkout in whose configuration τ was changed, so that a mask is to be made."""
    return copied.with_config(tmp_path / "config.yaml", tiny_config.replace(TAU, "zero_shot, tau: 0.02"))


def on_a_node(target: str) -> list[str]:
    """How a remote executor runs a job on the node: it parses Snakefile and configuration again."""
    rule, name = Path(target).parts[1:]
    return [
        *("--target-jobs", f"{rule}:name={name}", "--allowed-rules", rule, "--mode", "remote", "--attempt", "1"),
        *("--force", "--target-files-omit-workdir-adjustment", "--max-inventory-time", "0", "--retries", "0"),
        *("--force-use-threads", "--no-hooks", "--nolock", "--ignore-incomplete", "--shared-fs-usage", "none"),
    ]


class TestEditWhileJobsWait:
    def test_submitted_job_runs_on_its_node(self, waiting: Checkout) -> None:
        target = waiting.planned(MASK, waiting.plan())

        done = waiting.snakemake(*on_a_node(target))

        assert done.returncode == 0, done.stderr
        assert (waiting.folder / target / "manifest.json").is_file()

    @pytest.mark.parametrize("edited", ["configuration", "code"])
    def test_submitted_job_refuses_another_plan(self, waiting: Checkout, edited: str, tmp_path: Path) -> None:
        target = waiting.planned(MASK, waiting.plan())
        if edited == "configuration":
            waiting.config.write_text(waiting.config.read_text().replace("0.02", "0.03"))
        else:
            waiting = waiting.with_project(tmp_path / "project")
            edits.change_code(waiting.project / "workflow_scripts/tatr/merging/mask.py")

        done = waiting.snakemake(*on_a_node(target))

        assert done.returncode != 0
        assert f"{target} is not part of the current configuration and code" in done.stderr
        assert not list(waiting.results.glob("mask/*0.02*"))
        assert not list(waiting.results.glob("mask/*0.03*"))

    def test_started_command_refuses_other_code(self, waiting: Checkout, tmp_path: Path) -> None:
        plan = waiting.plan()
        (arguments,) = re.findall(r"tatr mask (.*zero_shot_tau-0\.02.*) 2> ", plan)
        waiting = waiting.with_project(tmp_path / "project")
        edits.change_code(waiting.project / "workflow_scripts/tatr/merging/mask.py")

        done = waiting.script("mask", *shlex.split(arguments))

        assert done.returncode == 1
        assert "the code of this step (mask) changed after the workflow was planned" in done.stderr
        assert not list(waiting.results.glob("mask/*0.02*"))


class TestKill:
    def test_restart_after_kill_gives_the_same_digests(self, copied: Checkout, tmp_path: Path) -> None:
        undisturbed = copied.manifests()
        label = "weight_average"
        lost = merged(label, "1")
        edits.delete(*(copied.artefact(job) for job in lost))

        killed = copied.snakemake(PYTHONPATH=kill_in_the_middle_of(f"merge/{label}", tmp_path))

        assert killed.returncode == -9
        (partial,) = copied.results.glob("merge/*.partial-*")
        assert [path for path in partial.rglob("*") if path.is_file() and path.parent.name == "c"]
        assert len(copied.manifests()) == len(undisturbed) - len(lost)
        assert "--unlock" in copied.snakemake().stderr
        assert copied.snakemake("--unlock").returncode == 0
        assert copied.run() == lost
        assert copied.manifests() == undisturbed
        assert not list(copied.results.rglob("*.partial-*"))


def kill_in_the_middle_of(artefact: str, folder: Path) -> str:
    """PYTHONPATH that makes the whole run die like in a power cut, when it has written half a shard of an artefact."""
    (folder / "sitecustomize.py").write_text(f"""\
import os, signal, sys

def hook(event, arguments):
    path = str(arguments[0]) if event == "open" else ""
    if {artefact!r} in path and "/vector.zarr/c/" in path and not path.endswith(".half"):
        with open(path + ".half", "wb") as file:
            file.write(b"half a shard")
        os.killpg(os.getpgrp(), signal.SIGKILL)

sys.addaudithook(hook)
""")
    return str(folder)


class TestDamage:
    def test_verify_names_every_damage(self, copied: Checkout) -> None:
        damages = {
            "task_vector:cars": (delete_shard, "missing"),
            "task_vector:digits": (flip_byte, "damaged"),
            "task_vector:textures": (truncate, "damaged"),
            "gradient:cars_n-8": (empty, "missing or empty"),
            "gradient:digits_n-8": (delete_store, "missing"),
            "images:cars": (delete_shard, "missing"),
            "images:digits": (flip_byte, "damaged"),
            "finetuning:cars": (flip_byte, "altered"),
            "head:cars": (delete_file, "missing"),
            "mask:zero_shot_tau-0.01": (alter_manifest, "manifest.json: was altered"),
        }
        for job, (damage, _) in damages.items():
            damage(copied.artefact(job))

        done = copied.script("verify")

        assert done.returncode == 1
        found = dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith("results/"))
        assert {copied.folder / name for name in found} == {copied.artefact(job) for job in damages}
        for job, (_, message) in damages.items():
            assert message in found[str(copied.artefact(job).relative_to(copied.folder))]

    def test_target_verify_fails_on_damage(self, copied: Checkout) -> None:
        truncate(copied.artefact("mask:zero_shot_tau-0.01"))

        done = copied.snakemake("verify")

        assert done.returncode != 0
        assert f"{copied.artefact('mask:zero_shot_tau-0.01').name}: " in done.stdout + done.stderr

    def test_damaged_input_stops_a_job(self, waiting: Checkout) -> None:
        store = waiting.artefact("sensitivity:zero_shot")
        truncate(store)

        done = waiting.snakemake()

        assert done.returncode != 0
        assert f"{store.name}/vector.zarr/c/0: damaged" in done.stderr
        assert not list(waiting.results.glob("mask/*0.02*"))

    def test_deleted_artefact_is_made_anew_alone(self, copied: Checkout) -> None:
        before = copied.manifests()
        folder = copied.artefact("sensitivity:zero_shot")
        edits.delete(folder)

        assert copied.run(str(folder.relative_to(copied.folder) / "manifest.json")) == {"sensitivity:zero_shot"}
        assert copied.manifests() == before
        assert copied.dry_run() == set()

    def test_artefact_that_came_out_otherwise_renews_what_depends_on_it(self, copied: Checkout) -> None:
        manifest = copied.artefact("mask:zero_shot_tau-0.01") / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"device": "cpu"', '"device": "cuda"'))
        edits.touch([manifest])

        assert copied.dry_run() == evaluated("task_arithmetic+zero_shot_tau-0.01", "0.3")


class TestFailure:
    def test_failing_job_is_one_line_and_leaves_nothing(
        self, copied: Checkout, tiny_config: str, tmp_path: Path
    ) -> None:
        before = copied.manifests()
        changed = copied.with_config(tmp_path / "config.yaml", tiny_config.replace("3.0e-4", "3.0e+37"))
        target = changed.planned("finetuning:cars", changed.plan())

        done = changed.snakemake(f"{target}/manifest.json")

        line = "lower finetuning.learning_rate"
        (log,) = (log for log in changed.folder.glob("logs/finetuning/cars-*.log") if line in log.read_text())
        assert done.returncode != 0
        assert line in done.stderr
        assert "Traceback" not in done.stderr
        assert [line in text for text in log.read_text().splitlines()].count(True) == 1
        assert not list(changed.results.glob(f"{target}*"))
        assert changed.manifests() == before
        assert copied.dry_run() == set()

    def test_what_a_plan_sees_is_one_line_and_leaves_nothing(
        self, copied: Checkout, tiny_config: str, tmp_path: Path
    ) -> None:
        before = copied.manifests()
        changed = copied.with_config(tmp_path / "config.yaml", tiny_config.replace("{count: 8}", "{count: 100}"))

        done = changed.snakemake()

        assert done.returncode != 0
        assert done.stderr.count("tasks.cars: 100 exemplars requested, but there are 64 training images") == 1
        assert "Traceback" not in done.stderr
        assert changed.manifests() == before


def delete_shard(artefact: Path) -> None:
    _shard(artefact).unlink()


def truncate(artefact: Path) -> None:
    _shard(artefact).write_bytes(_shard(artefact).read_bytes()[:-100])


def empty(artefact: Path) -> None:
    _shard(artefact).write_bytes(b"")


def flip_byte(artefact: Path) -> None:
    path = _shard(artefact)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def delete_store(artefact: Path) -> None:
    edits.delete(artefact / "means/n-8.zarr")


def delete_file(artefact: Path) -> None:
    (artefact / "head.safetensors").unlink()


def alter_manifest(artefact: Path) -> None:
    manifest = artefact / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"digest": "', '"digest": "0'))


def _shard(artefact: Path) -> Path:
    """The largest file."""
    return max((path for path in artefact.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
