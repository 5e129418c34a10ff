import re
import tomllib
from pathlib import Path

import yaml

BASE = Path(__file__).parent.parent
LOCK = (BASE / "envs/requirements.lock").read_text()
PLANNING_ONLY = {"pydantic", "pygments", "pyyaml", "snakemake"}
LIGHT = {"annotated-types", "ml_dtypes", "numpy", "pydantic", "threadpoolctl", "tqdm", "xxhash"}
"""What merging files and state dicts needs."""


def locked(package: str) -> set[str]:
    """All versions that the lock has of a package (they may differ by Python version)."""
    return set(re.findall(rf"^{package.replace('_', '-')}==([^ ;]+)", LOCK, re.MULTILINE))


def named(requirements: list[str]) -> set[str]:
    return {re.split("[><=]", package)[0] for package in requirements}


def test_an_install_without_extras_is_light_and_the_extras_are_those_that_make_lock_pins() -> None:
    project = tomllib.loads((BASE / "pyproject.toml").read_text())["project"]
    assert named(project["dependencies"]) == LIGHT
    extras = project["optional-dependencies"]
    assert {"torch", "snakemake", "zarr"} <= named(extras["pipeline"])
    assert named(extras["cluster"]) == {"snakemake-executor-plugin-slurm"}
    pinned = re.findall(r"--extra (\w+)", (BASE / "Makefile").read_text())
    assert sorted(pinned) == sorted(extras)


def test_the_lock_pins_every_dependency_with_hashes_and_names_no_address() -> None:
    project = tomllib.loads((BASE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    assert [package for package in wanted if not locked(re.split("[><=]", package)[0])] == []
    pinned = LOCK.split("\n    # via")
    assert all("--hash=sha256:" in entry for entry in pinned if "==" in entry)
    assert "http" not in re.sub(r"http(x|core|s)\w*", "", LOCK) and "index-url" not in LOCK


def test_the_conda_environment_has_the_locked_versions_of_what_jobs_need() -> None:
    environment = yaml.safe_load((BASE / "envs/tatr.yaml").read_text())
    pins = dict(pin.split("==") for pin in environment["dependencies"][-1]["pip"])
    for package, version in pins.items():
        assert version in locked(package), package
    project = tomllib.loads((BASE / "pyproject.toml").read_text())["project"]
    needed = named([*project["dependencies"], *project["optional-dependencies"]["pipeline"]]) - PLANNING_ONLY
    assert set(pins) == needed
