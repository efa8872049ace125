"""Commands by another user than the one that the server runs as: by root, and by one who may not read the data."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cli.command import flowrunner
from flowrunner.bootstrap.location import make_private
from flowrunner.security.keys import UnsafeDataDir, load_keys
from flowrunner.storage.migrations import UnusableDatabase
from flowrunner.storage.sqlite.quick_check import faults_of
from support.server import Server, clean_environment

OTHER: Final = 65534
only_root: Final = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a secret, whose server has stopped."""
    server = Server(tmp_path_factory.mktemp("installation")).start()
    try:
        server.admin().new_secret("KEPT", "a value that nobody else knows")
    finally:
        server.stop()
    return server.data_dir


@pytest.fixture
def data_dir(installation: Path, tmp_path: Path) -> Path:
    """A copy of the installation that belongs to another user."""
    copy = tmp_path / "data"
    shutil.copytree(installation, copy)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, OTHER, OTHER)
    return copy


def owners(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_uid for path in directory.rglob("*")}


@only_root
def test_keys_that_root_replaces_belong_to_the_user_of_the_server(data_dir: Path, tmp_path: Path) -> None:
    done = flowrunner("keys", "rotate", "master", "data", "signing", "--data-dir", data_dir, at=tmp_path)

    assert done.returncode == 0, done.stderr
    found = owners(data_dir)
    # The new keys, the earlier one of logins, and the lock of the keys.
    assert len([name for name in found if name.endswith(".key")]) == 3
    assert ".lock" in found
    assert set(found.values()) == {OTHER}


@only_root
def test_what_root_restores_belongs_to_the_user_whose_directory_it_is(
    installation: Path, data_dir: Path, tmp_path: Path
) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("nine brown hares\n")
    options = ("--passphrase-file", str(passphrase), "--data-dir")
    made = flowrunner("backup", tmp_path / "all.backup", "--with-keys", *options, installation, at=tmp_path)
    assert made.returncode == 0, made.stderr
    target = tmp_path / "restored"
    target.mkdir(mode=0o700)
    os.chown(target, OTHER, OTHER)

    done = flowrunner("restore", tmp_path / "all.backup", *options, target, at=tmp_path)

    assert done.returncode == 0, done.stderr
    assert owners(target).keys() == {"flowrunner.db", "lock", "keys", "master.key", "signing.key"}
    assert set(owners(target).values()) == {OTHER}


@only_root
def test_a_link_in_place_of_a_new_file_gives_no_file_of_root_away(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("root's")
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    os.chown(directory, OTHER, OTHER)
    (directory / "lock").symlink_to(precious)

    make_private(directory / "lock")

    assert precious.stat().st_uid == 0


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Be a user who may not read the file in this context."""
    if os.geteuid() != 0:
        path.chmod(0o000)
        yield
        return
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_copy(installation: Path) -> Iterator[Path]:
    """A copy of the installation in directories that everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # pytest's own is closed to other users
        Path(place).chmod(0o755)
        copy = Path(place) / "data"
        shutil.copytree(installation, copy)
        yield copy


def test_a_key_that_may_not_be_read_is_not_taken_for_a_damaged_one(open_copy: Path) -> None:
    key = open_copy / "keys" / "signing.key"
    if os.geteuid() == 0:
        for path in (open_copy, *open_copy.rglob("*")):
            os.chown(path, 0 if path == key else OTHER, -1)

    with unreadable(key), pytest.raises(UnsafeDataDir) as refused:
        load_keys(open_copy, has_data=True)

    assert f"Cannot read {key}: Permission denied" in str(refused.value)
    assert "as the user that the server runs as" in str(refused.value)
    assert "hexadecimal" not in str(refused.value)


def test_a_database_that_may_not_be_read_is_not_taken_for_a_damaged_one(open_copy: Path) -> None:
    database = open_copy / "flowrunner.db"
    if os.geteuid() == 0:
        os.chown(open_copy, OTHER, -1)

    with unreadable(database), pytest.raises(UnusableDatabase, match=r"unable to open database file.*the user that"):
        faults_of(database, seconds=20)


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--port", "0"], ["migrate"], ["migrate", "--check"], ["audit", "verify"], ["validate", "--stored"],
        ["keys", "rotate", "signing"], ["backup", "/nowhere/x.backup"], ["prune", "--dry-run"], ["pause"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_user_who_may_not_read_the_data_directory_is_told_to_be_another(
    arguments: list[str], installation: Path
) -> None:
    other: dict[str, Any] = {"user": OTHER, "group": OTHER, "extra_groups": ()} if os.geteuid() == 0 else {}
    if not other:
        pytest.skip("only root can be another user")
    if subprocess.run([sys.executable, "-c", "import flowrunner"], cwd="/", check=False, **other).returncode:
        pytest.skip("another user cannot run the program here")

    done = subprocess.run(
        [sys.executable, "-m", "flowrunner", *arguments, "--data-dir", str(installation)],
        cwd="/", env=clean_environment(), capture_output=True, text=True, check=False, timeout=60, **other,
    )  # fmt: skip

    # Of `audit verify`, 1 is a broken chain.
    assert done.returncode == (2 if arguments[0] == "audit" else 1)
    assert done.stderr == (
        f"flowrunner: {installation} cannot be read: run the command as the user that the server runs as\n"
    )
