import re
import tomllib
from pathlib import Path

import yaml

BASE = Path(__file__).parent.parent
LOCK = (BASE / "envs/requirements.lock").read_text()
PLANNING_ONLY = {"pydantic", "pygments", "pyyaml", "snakemake"}


def locked(package: str) -> set[str]:
    """All versions that the lock has of a package (they may differ by Python version)."""
    return set(re.findall(rf"^{package.replace('_', '-')}==([^ ;]+)", LOCK, re.MULTILINE))


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
    needed = {re.split("[><=]", package)[0] for package in project["dependencies"]} - PLANNING_ONLY
    assert set(pins) == needed
