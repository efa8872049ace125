"""Scenarios keep their files on a disk, where a commit takes its time: processes die in the midst of some."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="flowrunner-scenario-") as directory:
        yield Path(directory)
