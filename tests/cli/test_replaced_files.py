"""Files that commands replace: as a whole, and for those alone who could read them before."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from flowrunner.cli import flow_files
from flowrunner.cli.main import main

DOCUMENT: Final = b"nodes: {a: {type: return}}\n"


def fmt(path: Path) -> None:
    assert CliRunner().invoke(main, ["fmt", str(path)]).exit_code == 0


def new(path: Path) -> None:
    assert CliRunner().invoke(main, ["new", "http", "-f", str(path), "--force"]).exit_code == 0


def export(path: Path) -> None:
    flow_files.write_flow_file(path.parent, path.stem, DOCUMENT)


def export_one(path: Path) -> None:
    flow_files.write_new_file(path, DOCUMENT, replaces=True)


@pytest.mark.parametrize("write", [fmt, new, export, export_one])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode_which_its_draft_has_before_its_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Callable[[Path], None], mode: int
) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"nodes:   {a: {type: return}}\n")
    path.chmod(mode)
    drafts: list[bytes] = []
    copy_mode = shutil.copymode

    def copied(source: Path, target: Path) -> None:
        drafts.append(target.read_bytes())
        copy_mode(source, target)

    monkeypatch.setattr(shutil, "copymode", copied)

    write(path)

    assert (path.stat().st_mode & 0o777, drafts) == (mode, [b""])
    assert path.read_bytes() != b"nodes:   {a: {type: return}}\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_a_killed_command_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.with_name(f".{os.getpid()}.yaml.part").write_bytes(b"metadata: {name: cut o")

    export(path)

    assert path.read_bytes() == DOCUMENT
    assert list(tmp_path.iterdir()) == [path]
