"""A copy of the project with a configuration and results, in which tests run snakemake as a user would."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = Path("tests/workflow/configs/tiny.yaml")
METHODS = Path("tests/workflow/configs/methods.yaml")
REAL = Path("tests/workflow/configs/real.yaml")
ANALYSES = Path("tests/workflow/configs/analyses.yaml")
"""Written by the tests themselves, as it names files that they make."""
SOURCES = (
    "Snakefile",
    "pyproject.toml",
    "rules",
    "workflow_scripts",
    "config",
    "profiles",
    "envs",
    "docs/report/captions",
    "tests/workflow/configs",
)
BACKBONE = Path("backbones/tiny-clip")

JOB = re.compile(r"^    output: results/([^/]+)/([^/]+)-[0-9a-f]{12}/manifest\.json", re.MULTILINE)
TARGET = re.compile(
    r"^(?:local)?rule (?:all|demo|downloaded|finetuned|task_vectors|merged|evaluated|exported|links):$", re.MULTILINE
)
"""Jobs that make no artefact."""
TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """Where the sources are, what is configured, and where snakemake runs."""

    project: Path
    config: Path
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def with_results(self, folder: Path) -> "Checkout":
        """The same, with an own copy of the results (and of what snakemake remembers of them)."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return replace(self, folder=folder)

    def with_project(self, folder: Path) -> "Checkout":
        """The same, with an own copy of the sources."""
        shutil.copytree(self.project, folder)
        return replace(self, project=folder)

    def with_config(self, path: Path, text: str) -> "Checkout":
        """The same, with another configuration."""
        path.write_text(text, encoding="utf-8")
        return replace(self, config=path)

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake; whether it succeeds is for the caller to judge."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=1800,
            start_new_session=True,
        )

    def command(self, *arguments: str) -> list[str]:
        """Command line of a snakemake run."""
        cores = [] if any(argument.startswith(("--cores", "-c")) for argument in arguments) else ["--cores", "2"]
        start = [sys.executable, "-m", "snakemake", "--snakefile", str(self.project / "Snakefile"), *cores]
        return [*start, *arguments, "--configfile", str(self.config)]

    def run(self, *arguments: str) -> set[str]:
        """Run snakemake to its end and return the jobs it ran."""
        return _jobs(successful(self.snakemake("-p", *arguments)))

    def dry_run(self, *arguments: str) -> set[str]:
        """The jobs that snakemake would run, as "rule:label" (without the digest); targets like `all` left out."""
        return _jobs(self.plan(*arguments))

    def plan(self, *arguments: str) -> str:
        """What Snakemake itself prints in a dry run."""
        return successful(self.snakemake("--dry-run", "-p", *arguments))

    def script(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of `workflow_scripts/`, or else of the subcommands of `tatr`, by itself."""
        scripts = self.project / "workflow_scripts"
        step = scripts / f"{name}.py"
        target = [step] if step.is_file() else [scripts / "tatr/console", name]
        return subprocess.run(
            [sys.executable, *map(str, target), *arguments],
            cwd=self.folder,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=1800,
        )

    def artefact(self, job: str) -> Path:
        """Folder of the one artefact that a job ("rule:label") made."""
        return self.folder / self.planned(job, "\n".join(str(p.relative_to(self.folder)) for p in self.artefacts()))

    @staticmethod
    def planned(job: str, plan: str) -> str:
        """Folder, relative to where snakemake runs, of the one artefact that a job is to make according to a plan."""
        kind, label = job.split(":")
        (folder,) = set(re.findall(rf"results/{kind}/{re.escape(label)}-[0-9a-f]{{12}}(?=[/\n,]|$)", plan))
        return str(folder)

    def manifests(self) -> dict[str, str]:
        """All manifests, by path: they hold the digests of everything."""
        return {str(path.relative_to(self.folder)): path.read_text() for path in self.results.rglob("manifest.json")}

    def artefacts(self) -> list[Path]:
        """Folders of all artefacts, without the links that lead to some of them."""
        folders = [path.parent for path in self.results.glob("*/*/manifest.json")]
        return [folder for folder in folders if not folder.is_symlink()]


def copy_sources(target: Path) -> None:
    """Copy what the workflow consists of; TATR_TEST_BACKBONE may name another backbone than the repository's."""
    for name in SOURCES:
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target / name) if source.is_dir() else shutil.copy2(source, target / name)
    for backbone in (ROOT / BACKBONE, os.environ.get("TATR_TEST_BACKBONE")):
        if backbone:
            shutil.copytree(backbone, target / BACKBONE, dirs_exist_ok=True)


def clean_environment() -> dict[str, str]:
    """The environment without what could change a run: profiles, and a GPU that other machines lack."""
    unwanted = ("SNAKEMAKE", "PYTHONPATH", "PYTEST")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | {
        "CUDA_VISIBLE_DEVICES": "",
    }


def successful(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, if it succeeded."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _jobs(output: str) -> set[str]:
    jobs = [f"{kind}:{label}" for kind, label in JOB.findall(output)]
    assert len(jobs) == len(set(jobs)), f"two jobs of one name: {jobs}"
    total = TOTAL.search(output)
    targets = len(TARGET.findall(output))
    assert len(jobs) + targets == (int(total[1]) if total else 0), f"not all jobs were understood:\n{output}"
    return set(jobs)
