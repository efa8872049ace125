"""`flowrunner backup` of a running server under load, and `flowrunner restore` elsewhere."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from cli import command
from flowrunner.bootstrap.ownership import LOCK_FILE
from flowrunner.security.key_files import are_key_files, read_key_files, with_earlier
from flowrunner.security.keys import MASTER, key_id
from flowrunner.security.sealing import seal, unseal
from support.invariants import check_accepted, check_database
from support.postgres import PostgresServer, query
from support.processes import is_alive
from support.server import Server, clean_environment
from support.waiting import wait_for

FLOW: Final = """
metadata: {name: Goes on, version: "1"}
nodes:
  first: {type: transform, params: {value: 1}, next: second}
  second: {type: log, params: {message: between}, next: ask}
  ask: {type: wait, params: {key: go}, next: last}
  last: {type: log, params: {message: on}}
"""
SHORT: Final = """
metadata: {name: Ends, version: "1"}
nodes: {a: {type: transform, params: {value: 1}, next: b}, b: {type: log, params: {message: x}}}
"""
USES_SECRET: Final = """
nodes: {a: {type: return, params: {value: "${secrets.KEPT.length}"}}}
"""
SECRET: Final = "a value that nobody else knows"
PASSPHRASE: Final = "nine brown hares"
# The usual program, which is killed when it has written so many files of keys.
KILLED_AMONG_THE_KEYS: Final = """
import itertools, os, signal, sys
from flowrunner.security import key_files
write, most, written = key_files.write_private, int(sys.argv.pop(1)), itertools.count(1)
def write_private(path, text):
    write(path, text)
    if next(written) == most:
        os.kill(os.getpid(), signal.SIGKILL)
key_files.write_private = write_private
from flowrunner.cli.main import main
main()
"""


def flowrunner(*arguments: str | Path, input: str = "") -> "subprocess.CompletedProcess[str]":
    return command.flowrunner(*arguments, at=Path.cwd(), stdin=input)


@contextmanager
def load(server: Server, token: str | None, flow: str) -> Iterator[list[str]]:
    """Start executions all the time; yields those that were accepted."""
    accepted: list[str] = []
    ends = threading.Event()

    def start() -> None:
        client = server.client(token)
        while not ends.is_set():
            accepted.append(client.run(flow))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield accepted
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def test_a_backup_under_load_goes_on_elsewhere_with_all_executions_and_secrets(tmp_path: Path) -> None:
    server, file = Server(tmp_path).start(), tmp_path / "all.backup"
    try:
        admin = server.admin()
        admin.new_secret("KEPT", SECRET)
        waiting_flow, short_flow = admin.new_flow(FLOW), admin.new_flow(SHORT)
        waiting = [admin.run(waiting_flow) for _ in range(5)]
        for id in waiting:
            admin.waiting_at(id, "ask")
        with load(server, admin.token, short_flow) as accepted:
            while len(accepted) < 20:
                time.sleep(0.01)
            before = list(accepted)
            made = flowrunner(
                "backup", file, "--with-keys", "--passphrase-file", "-", "--data-dir", server.data_dir, input=PASSPHRASE
            )
            assert made.returncode == 0, made.stderr
            assert len(accepted) > len(before), "the server went on meanwhile"
    finally:
        server.stop()
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.backup", "data", "server.log"]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    new = Server(elsewhere)
    done = flowrunner("restore", file, "--passphrase-file", "-", "--data-dir", new.data_dir, input=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    assert check_accepted(new.database, [*waiting, *before], all_ended=False) == []
    with closing(sqlite3.connect(new.database)) as database:
        in_backup = [id for (id,) in database.execute("SELECT id FROM executions")]
    try:
        client = new.start().admin()
        for id in waiting:
            assert client.post(f"/api/v1/executions/{id}/signals/go", {}).status in (200, 202)
        for id in in_backup:
            assert client.ended(id)["status"] == "completed"
        decrypts = client.run_to_end(USES_SECRET)
        assert (decrypts["status"], decrypts["result"]) == ("completed", len(SECRET))
    finally:
        new.stop()
    # Among them that no completed node started again.
    assert check_database(new.database) == []
    assert check_accepted(new.database, in_backup) == []


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a secret, whose server has stopped."""
    directory = tmp_path_factory.mktemp("installation")
    server = Server(directory).start()
    try:
        server.admin().new_secret("KEPT", SECRET)
    finally:
        server.stop()
    return server.data_dir


@pytest.fixture(scope="module")
def backup(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with sealed keys."""
    file = tmp_path_factory.mktemp("backup") / "all.backup"
    passphrase = file.with_name("passphrase")
    passphrase.write_text(PASSPHRASE + "\n")
    made = flowrunner("backup", file, "--with-keys", "--passphrase-file", passphrase, "--data-dir", installation)
    assert made.returncode == 0, made.stderr
    return file


def test_keys_are_in_a_backup_only_if_asked_for_and_then_sealed(
    installation: Path, backup: Path, tmp_path: Path
) -> None:
    keys = [bytes.fromhex(path.read_text()) for path in (installation / "keys").glob("*.key")]
    made = flowrunner("backup", tmp_path / "plain.backup", "--data-dir", installation)

    assert made.returncode == 0
    assert f"Keep a copy of {installation / 'keys'}" in made.stderr
    for file in (backup, tmp_path / "plain.backup"):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            content = b"".join(map(archive.read, names))
        assert ("keys.sealed" in names) == (file == backup)
        assert len(keys) == 2
        for key in keys:
            assert key not in content
            assert key.hex().encode() not in content
        assert SECRET.encode() not in content


def test_keys_that_are_there_are_used_and_others_are_refused(installation: Path, backup: Path, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for directory, change in ((right, str), (wrong, lambda text: text[::-1].strip() + "\n")):
        (directory / "keys").mkdir(mode=0o700, parents=True)
        directory.chmod(0o700)
        for path in (installation / "keys").glob("*.key"):
            target = directory / "keys" / path.name
            target.write_text(change(path.read_text()))
            target.chmod(0o600)

    done = flowrunner("restore", backup, "--data-dir", right)
    refused = flowrunner("restore", backup, "--data-dir", wrong)

    assert done.returncode == 0, done.stderr
    assert refused.returncode == 1
    assert "are not those of the backup" in refused.stderr
    assert not (wrong / "flowrunner.db").exists()


@pytest.mark.parametrize("written", [1, 2])
def test_a_restoration_that_was_killed_among_the_keys_is_completed_by_the_next_one(
    written: int, installation: Path, backup: Path, tmp_path: Path
) -> None:
    target = tmp_path / "data"
    restore = ("restore", str(backup), "--passphrase-file", "-", "--data-dir", str(target))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AMONG_THE_KEYS, str(written), *restore],
        input=PASSPHRASE,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list((target / "keys").glob("*.key"))) == written

    restored = flowrunner(*restore, input=PASSPHRASE)

    assert restored.returncode == 0, restored.stderr
    assert (target / "flowrunner.db").exists()
    assert read_key_files(target) == read_key_files(installation)


def test_a_part_of_other_keys_is_refused(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "master.key").write_text("ab" * 32 + "\n")
    tmp_path.chmod(0o700)

    refused = flowrunner("restore", backup, "--passphrase-file", "-", "--data-dir", tmp_path, input=PASSPHRASE)

    assert refused.returncode == 1
    assert "are not complete, and not those in the backup" in refused.stderr
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["master.key"]
    assert not (tmp_path / "flowrunner.db").exists()


def test_nothing_is_restored_into_a_directory_in_use_or_with_data(
    installation: Path, backup: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "letter.txt").write_text("mine")
    running = tmp_path / "running"
    running.mkdir()
    server = Server(running).start()
    try:
        content = server.database.read_bytes()
        answers = [
            flowrunner("restore", backup, "--data-dir", place) for place in (installation, other, server.data_dir)
        ]
        assert server.database.read_bytes() == content
    finally:
        server.stop()

    for answer in answers:
        assert answer.returncode == 1
        assert "is not empty" in answer.stderr
        assert "--data-dir" in answer.stderr
    assert [path.name for path in other.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("passphrase", ["", "nine brown hare", "x" * 100_000], ids=["none", "wrong", "long"])
def test_a_wrong_passphrase_leaves_nothing(passphrase: str, backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "data"

    refused = flowrunner("restore", backup, "--passphrase-file", "-", "--data-dir", target, input=passphrase)

    assert refused.returncode == 1
    assert "The passphrase does not open the keys" in refused.stderr
    assert not target.parent.exists()

    # Repeated at the same place, which may also be a directory that was there before.
    target.mkdir(parents=True, mode=0o700)
    refused = flowrunner("restore", backup, "--passphrase-file", "-", "--data-dir", target, input=passphrase)
    assert refused.returncode == 1
    assert list(target.iterdir()) == []
    restored = flowrunner("restore", backup, "--passphrase-file", "-", "--data-dir", target, input=PASSPHRASE)
    assert restored.returncode == 0, restored.stderr
    assert (target / "flowrunner.db").exists()


def test_without_a_terminal_the_passphrase_has_to_be_in_a_file(backup: Path, tmp_path: Path) -> None:
    refused = flowrunner("restore", backup, "--data-dir", tmp_path / "new")

    assert refused.returncode == 1
    assert "--passphrase-file" in refused.stderr


def test_a_short_passphrase_seals_nothing(installation: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.backup"
    refused = flowrunner(
        "backup", file, "--with-keys", "--passphrase-file", "-", "--data-dir", installation, input="short"
    )

    assert refused.returncode == 1
    assert "at least 12 characters" in refused.stderr
    assert not file.exists()


def damaged(backup: Path, kind: str, to: Path) -> None:
    content = backup.read_bytes()
    if kind == "cut":
        to.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        to.write_bytes(b"")
    elif kind == "flipped":
        # In the middle of the packed database.
        middle = len(content) // 2
        to.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif kind in ("later version", "other characters"):
        # The version that is needed, in an entry of the directory; and the mark of UTF-8, with a name that is none.
        entry = content.rindex(b"PK\1\2")
        change = {6: b"\xff"} if kind == "later version" else {9: b"\x08", 46: b"\xff"}
        for offset, byte in change.items():
            content = content[: entry + offset] + byte + content[entry + offset + 1 :]
        to.write_bytes(content)
    elif kind == "other method":
        with zipfile.ZipFile(backup) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_LZMA) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
    else:
        with zipfile.ZipFile(backup) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
            manifest = json.loads(old.read("manifest.json"))
            database = old.read("database")
            if kind == "other database":
                database = database[:-1] + bytes([database[-1] ^ 1])
            elif kind == "larger than it says":
                database += b"\0" * 50_000_000
            elif kind == "larger than the disk":
                manifest["size"] = 10**18
            elif kind == "other types":
                manifest["size"] = "1"
            elif kind == "nested":
                manifest = json.loads("[" * 500 + "]" * 500)
            elif kind == "other names":
                manifest["more"] = 1
            new.writestr("manifest.json", json.dumps(manifest))
            new.writestr("database", database)


@pytest.mark.parametrize(
    "kind",
    [
        "cut",
        "empty",
        "flipped",
        "later version",
        "other characters",
        "other method",
        "other database",
        "larger than it says",
        "other types",
        "nested",
        "other names",
    ],
)
def test_a_damaged_backup_is_refused_completely(kind: str, backup: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "damaged.backup", tmp_path / "new"
    damaged(backup, kind, file)

    refused = flowrunner("restore", file, "--passphrase-file", "-", "--data-dir", target, input=PASSPHRASE)

    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not target.exists()


def test_a_server_does_not_start_without_the_data_of_an_interrupted_restoration(backup: Path, tmp_path: Path) -> None:
    server = Server(tmp_path)
    target = server.data_dir
    target.mkdir(mode=0o700)
    # A kill leaves this.
    (target / "restore.new").write_bytes(b"SQLite format 3")

    server.spawn()
    code = server.wait()

    assert code == 1
    assert "was interrupted, and there is no database yet: run 'flowrunner restore' again" in server.log
    assert {path.name for path in target.iterdir()} == {"restore.new", "lock"}
    restored = flowrunner("restore", backup, "--passphrase-file", "-", "--data-dir", target, input=PASSPHRASE)
    assert restored.returncode == 0, restored.stderr
    server.start()
    server.stop()


# The usual program, which prints the databases that it opens.
TELLS_WHAT_IT_OPENS: Final = """
import sys
sys.addaudithook(lambda event, given: event == "sqlite3.connect" and print("opened", given[0]))
from flowrunner.cli.main import main
main()
"""


def test_no_log_is_made_for_the_data_of_a_restoration(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    restore = ["restore", str(backup), "--passphrase-file", "-", "--data-dir", str(target)]
    ran = subprocess.run(
        [sys.executable, "-c", TELLS_WHAT_IT_OPENS, *restore],
        input=PASSPHRASE, env=clean_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip

    # A full disk or a kill would leave it, and the next restoration would find that the directory is not empty.
    opened = [line for line in ran.stdout.splitlines() if line.startswith("opened ") and "restore.new" in line]
    assert opened
    assert [line for line in opened if not line.endswith("restore.new?immutable=1")] == []


def test_a_backup_that_has_no_room_is_not_unpacked(backup: Path, tmp_path: Path) -> None:
    damaged(backup, "larger than the disk", tmp_path / "large.backup")
    with zipfile.ZipFile(tmp_path / "large.backup", "a") as archive, zipfile.ZipFile(backup) as old:
        archive.writestr("keys.sealed", old.read("keys.sealed"))

    refused = flowrunner("restore", tmp_path / "large.backup", "--passphrase-file", "-", "--data-dir", tmp_path / "new",
                         input=PASSPHRASE)  # fmt: skip

    assert refused.returncode == 1
    assert "1,000,000,000,000,000,000 bytes" in refused.stderr
    assert not (tmp_path / "new" / "flowrunner.db").exists()


def test_a_backup_of_a_newer_version_is_refused(backup: Path, tmp_path: Path) -> None:
    schema, layout = tmp_path / "schema.backup", tmp_path / "format.backup"
    for file, change in ((schema, {"schema": "9999"}), (layout, {"format": "flowrunner-backup-9\x1b[2J"})):
        with zipfile.ZipFile(backup) as old, zipfile.ZipFile(file, "w") as new:
            new.writestr("manifest.json", json.dumps(json.loads(old.read("manifest.json")) | change))
            new.writestr("database", old.read("database"))

    of_schema = flowrunner("restore", schema, "--data-dir", tmp_path / "new")
    of_format = flowrunner("restore", layout, "--data-dir", tmp_path / "new")

    assert (of_schema.returncode, of_format.returncode) == (1, 1)
    assert "has the schema '9999', which this version does not know" in of_schema.stderr
    assert r"was made by a newer version of FlowRunner (flowrunner-backup-9\x1b[2J)" in of_format.stderr
    assert "\x1b" not in of_format.stderr
    assert not (tmp_path / "new").exists()


def test_a_backup_that_fails_leaves_the_earlier_one(installation: Path, tmp_path: Path) -> None:
    file = tmp_path / "nightly.backup"
    assert flowrunner("backup", file, "--data-dir", installation).returncode == 0
    before = file.read_bytes()

    # As on a disk that has room for a part of it.
    limited = 'ulimit -f 64; exec "$@"', "sh", sys.executable, "-m", "flowrunner"
    failed = subprocess.run(
        ["sh", "-c", *limited, "backup", file, "--data-dir", installation],
        env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert failed.returncode == 1
    assert "choose a place with more room" in failed.stderr
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["nightly.backup"]


def test_a_killed_backup_is_cleaned_up_by_the_next_one_and_one_that_runs_is_not(
    installation: Path, tmp_path: Path
) -> None:
    begin = (
        "import sys, time, pathlib\n"
        "from flowrunner.bootstrap.backup import _workplace\n"
        "with _workplace(pathlib.Path(sys.argv[1])) as place:\n"
        "    (place / 'database').write_bytes(b'0' * 1000)\n"
        "    print(place, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", begin, tmp_path / "a.backup"], env=clean_environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        beside = flowrunner("backup", tmp_path / "b.backup", "--data-dir", installation)
        assert beside.returncode == 0, beside.stderr
        assert (place / "database").exists(), "its process runs"
        process.kill()

    after = flowrunner("backup", tmp_path / "c.backup", "--data-dir", installation)

    assert after.returncode == 0, after.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.backup", "c.backup"]


def test_a_backup_replaces_nothing_but_a_backup(installation: Path, tmp_path: Path) -> None:
    content = (installation / "flowrunner.db").read_bytes()

    refused = flowrunner("backup", installation / "flowrunner.db", "--data-dir", installation)
    nowhere = flowrunner("backup", tmp_path / "no" / "such" / "file", "--data-dir", installation)
    without = flowrunner("backup", tmp_path / "a.backup", "--data-dir", tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    pipe = flowrunner("backup", tmp_path / "pipe", "--data-dir", installation)

    assert (refused.returncode, nowhere.returncode, without.returncode, pipe.returncode) == (1, 1, 1, 1)
    assert "is not a backup: name another file" in refused.stderr
    assert "Traceback" not in nowhere.stderr
    assert "There is no database" in without.stderr
    assert (installation / "flowrunner.db").read_bytes() == content


def test_a_damaged_database_makes_no_backup(installation: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    content = bytearray((installation / "flowrunner.db").read_bytes())
    for page in range(20, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    (data / "flowrunner.db").write_bytes(content)

    failed = flowrunner("backup", tmp_path / "a.backup", "--data-dir", data)

    assert failed.returncode == 1
    assert "damaged" in failed.stderr
    assert not (tmp_path / "a.backup").exists()


def test_a_postgresql_database_is_paused_backed_up_and_restored_beside_its_server(tmp_path: Path) -> None:
    postgres = PostgresServer()
    try:
        url, empty = postgres.start().new_database(), postgres.new_database()
        path = f"{Path(postgres.program('pg_dump')).parent}:{os.environ['PATH']}"
        server = Server(tmp_path, {"DATABASE_URL": url}).start()
        try:
            admin = server.admin()
            admin.new_secret("KEPT", SECRET)
            id = admin.run(admin.new_flow(FLOW))
            admin.waiting_at(id, "ask")
            file, new_dir = tmp_path / "pg.backup", tmp_path / "new" / "data"
            environment = {"PATH": path, "FLOWRUNNER_DATABASE_URL": url}

            def do(*arguments: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
                return command.flowrunner(
                    *arguments, at=tmp_path, stdin=PASSPHRASE, environment={**environment, **more}
                )

            assert do("pause", "--data-dir", server.data_dir).returncode == 0
            assert admin.post(f"/api/v1/flows/{admin.new_flow(SHORT)}/run", {"input": {}}).status == 503
            assert do("prune", "--data-dir", server.data_dir).stdout == "Executions deleted: 0\n"
            assert do("unpause", "--data-dir", server.data_dir).returncode == 0
            made = do("backup", file, "--with-keys", "--passphrase-file", "-", "--data-dir", server.data_dir)
            assert made.returncode == 0, made.stderr
            keyless = do(
                "backup", tmp_path / "no.backup", "--with-keys", "--passphrase-file", "-", "--data-dir", tmp_path
            )
            taken = do("restore", file, "--passphrase-file", "-", "--data-dir", new_dir)
        finally:
            server.stop()
        assert taken.returncode == 1
        assert "is not empty" in taken.stderr
        assert not (new_dir / "keys").exists()
        assert keyless.returncode == 1
        assert "does not have the master key" in keyless.stderr
        assert not (tmp_path / "no.backup").exists()

        restored = do("restore", file, "--passphrase-file", "-", "--data-dir", new_dir, FLOWRUNNER_DATABASE_URL=empty)
        assert restored.returncode == 0, restored.stderr
        # Nothing of the dump stays there.
        assert {path.name for path in new_dir.iterdir()} == {"keys", LOCK_FILE}
        new = Server(tmp_path / "new", {"DATABASE_URL": empty}).start()
        try:
            client = new.admin()
            client.post(f"/api/v1/executions/{id}/signals/go", {})
            assert client.ended(id)["status"] == "completed"
        finally:
            new.stop()
        assert check_database(empty) == []
    finally:
        postgres.stop()


def test_a_role_that_owns_only_its_schema_backs_it_up_and_restores_it_into_one_of_that_name(tmp_path: Path) -> None:
    postgres = PostgresServer()
    try:
        old, new, other = (postgres.start().new_database(), postgres.new_database(), postgres.new_database())
        # Not every text that is stored has a form in this encoding.
        ask(old, "CREATE ROLE app LOGIN", "ALTER ROLE app SET client_encoding = 'LATIN1'", "CREATE ROLE reader")
        for database, schema in ((old, "app"), (new, "app"), (other, "other")):
            name = database.rpartition("/")[2]
            ask(database, "REVOKE ALL ON SCHEMA public FROM PUBLIC", f"CREATE SCHEMA {schema} AUTHORIZATION app")
            ask(database, f"ALTER ROLE app IN DATABASE {name} SET search_path = {schema}")
        ask(old, "CREATE SCHEMA hr", "CREATE TABLE hr.salaries (amount int)")
        path = f"{Path(postgres.program('pg_dump')).parent}:{os.environ['PATH']}"
        file = tmp_path / "a.backup"

        def do(database: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
            environment = {"PATH": path, "FLOWRUNNER_DATABASE_URL": as_app(database)}
            return command.flowrunner(*arguments, at=tmp_path, environment=environment)

        server = Server(tmp_path, {"DATABASE_URL": as_app(old)}).start()
        try:
            server.admin().new_flow(SHORT, name="İ")
            ask(old, "GRANT SELECT ON app.flows TO reader")
            made = do(old, "backup", file, "--data-dir", server.data_dir)
        finally:
            server.stop()
        assert made.returncode == 0, made.stderr
        ask(old, "DROP OWNED BY reader", "DROP ROLE reader")

        refused = do(other, "restore", file, "--data-dir", tmp_path / "other")
        restored = do(new, "restore", file, "--data-dir", tmp_path / "new")

        assert refused.returncode == 1
        assert "is that of a schema named 'app', and this role uses 'other': create the schema" in refused.stderr
        assert restored.returncode == 0, restored.stderr
        assert query(new, "SELECT name FROM app.flows") == [("İ",)]
    finally:
        postgres.stop()


def ask(url: str, *statements: str) -> None:
    for statement in statements:
        query(url, statement)


def as_app(url: str) -> str:
    return url.replace("//flowrunner@", "//app@")


# `pg_restore` that never ends once it restores.
ENDLESS: Final = """#!/bin/sh
case "$*" in *--single-transaction*) echo $$ > "{pid}.new"; mv "{pid}.new" "{pid}"; exec sleep 600;; esac
exec "{real}" "$@"
"""


def test_a_killed_restoration_into_postgresql_does_not_go_on(tmp_path: Path) -> None:
    postgres, pid, slow = PostgresServer(), tmp_path / "pid", tmp_path / "bin" / "pg_restore"
    slow.parent.mkdir()
    slow.write_text(ENDLESS.format(pid=pid, real=postgres.program("pg_restore")))
    slow.chmod(0o755)
    path = f"{Path(postgres.program('pg_dump')).parent}:{os.environ['PATH']}"
    try:
        url, empty = postgres.start().new_database(), postgres.new_database()
        server = Server(tmp_path, {"DATABASE_URL": url}).start()
        server.stop()
        file, target = tmp_path / "pg.backup", tmp_path / "new"
        environment = clean_environment(PATH=path, FLOWRUNNER_DATABASE_URL=url)
        backup = [sys.executable, "-m", "flowrunner", "backup", str(file), "--data-dir", str(server.data_dir)]
        subprocess.run(backup, env=environment, check=True)
        restore = [sys.executable, "-m", "flowrunner", "restore", str(file), "--data-dir", str(target)]
        environment |= {"FLOWRUNNER_DATABASE_URL": empty}
        killed = subprocess.Popen(restore, env={**environment, "PATH": f"{slow.parent}:{path}"})
        wait_for(pid.exists)

        killed.kill()
        killed.wait()

        wait_for(lambda: not is_alive(int(pid.read_text())))
        subprocess.run(restore, env=environment, check=True)
        assert check_database(empty) == []
    finally:
        postgres.stop()


def test_a_start_deletes_what_a_killed_restoration_into_postgresql_has_left(tmp_path: Path) -> None:
    postgres = PostgresServer()
    server = Server(tmp_path, {"DATABASE_URL": postgres.start().new_database()})
    try:
        server.start().stop()
        # A kill between the end of pg_restore and that of the command leaves this beside the data.
        left = server.data_dir / "restore.new"
        left.write_bytes(b"PGDMP")

        server.start()

        assert not left.exists()
    finally:
        server.stop()
        postgres.stop()


def test_a_key_that_a_rotation_replaces_during_the_copy_is_in_the_backup() -> None:
    earlier = {"master.key": "a" * 64, "signing.key": "b" * 64}
    files = {"master.key": "c" * 64, "signing.key": "b" * 64}

    kept = with_earlier(files, earlier)

    assert kept == {**files, f"master.{key_id(MASTER, bytes.fromhex('a' * 64))}.key": "a" * 64}
    assert are_key_files(kept.items())


def test_a_passphrase_opens_keys_however_its_characters_are_composed() -> None:
    passphrase = "nine grün otters"

    sealed = seal(b"the keys", unicodedata.normalize("NFC", passphrase), bound_to=b"x")

    assert unseal(sealed, unicodedata.normalize("NFD", passphrase), bound_to=b"x") == b"the keys"
