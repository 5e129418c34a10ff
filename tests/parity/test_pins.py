"""envs/parity.txt, with or without what it pins."""

import re
from pathlib import Path

ENVS = Path(__file__).parents[2] / "envs"
PIN = re.compile(r"^([A-Za-z0-9-]+)==[^ ;]+", re.MULTILINE)
PARITY = (ENVS / "parity.txt").read_text()


def test_every_pin_has_hashes_and_no_address_is_named() -> None:
    entries = re.split(r"\n(?=\S)", PARITY.strip())
    pinned = [entry for entry in entries if not entry.startswith("#")]
    assert [entry for entry in pinned if not PIN.match(entry) or "--hash=sha256:" not in entry] == []
    assert {"mergekit", "fusion-bench"} <= set(PIN.findall(PARITY))
    assert "://" not in PARITY and "index" not in PARITY


def test_nothing_of_the_environment_is_pinned_anew() -> None:
    # It would hide the locked version, which the tests are to run with.
    assert set(PIN.findall(PARITY)) & set(PIN.findall((ENVS / "requirements.lock").read_text())) == set()
