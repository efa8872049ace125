"""The keys of an installation, also when the process that makes them is killed."""

import contextlib
import errno
import os
import secrets
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowrunner.security.keys import UnsafeDataDir, load_keys, write_private

# Makes the keys, and kills itself at the call of the system that it is told.
KILLED = """
import os, signal, sys
from pathlib import Path
from flowrunner.security.keys import load_keys

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

call, number, before = sys.argv[2], int(sys.argv[3]), getattr(os, sys.argv[2])
count = 0

def counting(*args, **options):
    global count
    count += 1
    if count == number:
        die()
    return before(*args, **options)

setattr(os, call, counting)
load_keys(Path(sys.argv[1]), has_data=False)
"""


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("fdopen", 1),
        ("fdopen", 2),
        ("fsync", 1),
        ("fsync", 2),
        ("fsync", 3),
        ("fsync", 4),
        ("rename", 1),
        ("rename", 2),
    ],
)
def test_a_kill_while_the_keys_are_made_leaves_an_installation_that_starts(
    tmp_path: Path, call: str, number: int
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), call, str(number)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    made = {path.name: path.read_text() for path in (tmp_path / "keys").glob("*.key")}

    keys = load_keys(tmp_path, has_data=False)

    assert load_keys(tmp_path, has_data=True) == keys
    files = {path.name: path for path in (tmp_path / "keys").iterdir()}
    assert set(files) == {"master.key", "signing.key", ".lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert {name: files[name].read_text() for name in made} == made, "what was made before the kill is kept"


def test_processes_that_start_at_once_in_one_directory_have_the_same_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    draw = secrets.token_hex

    def drawn_by_both(size: int) -> str:
        # By then the other one, if it may, has found no key either.
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        return draw(size)

    monkeypatch.setattr(secrets, "token_hex", drawn_by_both)

    with ThreadPoolExecutor(2) as processes:
        one, other = processes.map(lambda n: load_keys(tmp_path, has_data=False), range(2))

    assert one == other == load_keys(tmp_path, has_data=True)


def test_keys_that_find_no_room_on_the_disk_are_told_of_and_made_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UnsafeDataDir, match=r"Cannot write to .*keys: No space left on device$"):
            load_keys(tmp_path, has_data=False)

    assert load_keys(tmp_path, has_data=False) == load_keys(tmp_path, has_data=True)


@pytest.mark.parametrize("mode", [0o710, 0o740, 0o701])
def test_keys_are_not_used_from_a_directory_that_others_can_look_into(tmp_path: Path, mode: int) -> None:
    load_keys(tmp_path, has_data=False)
    (tmp_path / "keys").chmod(mode)

    with pytest.raises(UnsafeDataDir, match=f"keys can be read by others .mode {mode:04o}.: run 'chmod 700 "):
        load_keys(tmp_path, has_data=True)


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    write_private(path, "first")

    with pytest.raises(FileExistsError):
        write_private(path, "second")

    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.key"]
