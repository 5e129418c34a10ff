"""What is asked of every broken input."""

from collections.abc import Callable
from pathlib import Path

import bad_input
import pytest


@pytest.fixture
def complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[bad_input.BadInput], str]:
    """The one message about an input that is brought in an empty folder; no file is changed or left."""
    return lambda bad: bad_input.complaint(bad, tmp_path, monkeypatch, caplog)
