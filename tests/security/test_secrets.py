"""Secrets: sealed at rest, used by their own account alone, and hidden wherever they would show."""

import base64
import json
import os
import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.cli.database import copy
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import WorkspaceId, personal_workspace
from flowrunner.ports.secrets import WrongKey
from flowrunner.security.vault import MasterKeys, seal, unseal
from flowrunner.settings import InvalidSettings, Settings, load_settings
from security.canaries import PLAIN
from support.asgi import program_at
from support.client import Client
from support.receiver import Receiver
from support.scoreboard import Scoreboard
from support.server import REAL_HASHES, Server

# Sealing


@given(key=st.binary(min_size=32, max_size=32), plain=st.binary(max_size=200), context=st.text(max_size=50))
def test_s22_what_is_sealed_opens_again(key: bytes, plain: bytes, context: str) -> None:
    assert unseal(key, seal(key, plain, context=context), context=context) == plain


@given(plain=st.binary(min_size=1, max_size=100), bit=st.integers(min_value=0))
def test_s22_a_changed_bit_does_not_open(plain: bytes, bit: int) -> None:
    key = bytes(32)
    sealed = bytearray(seal(key, plain, context="c"))
    position = bit % (len(sealed) * 8)
    sealed[position // 8] ^= 1 << position % 8

    with pytest.raises(WrongKey):
        unseal(key, bytes(sealed), context="c")


@pytest.mark.parametrize("sealed", [b"", b"x", b"\0" * 12, b"\0" * 27, b"\0" * 28])
def test_s22_what_was_never_sealed_does_not_open(sealed: bytes) -> None:
    with pytest.raises(WrongKey):
        unseal(bytes(32), sealed, context="c")


def test_s22_another_key_or_context_does_not_open() -> None:
    sealed = seal(bytes(32), b"plain", context="c")

    for key, context in ((b"\1" * 32, "c"), (bytes(32), "d"), (bytes(32), "")):
        with pytest.raises(WrongKey):
            unseal(key, sealed, context=context)


def test_s23_the_same_value_is_never_sealed_the_same() -> None:
    assert len({seal(bytes(32), b"plain", context="c") for _ in range(100)}) == 100


def test_s22_a_data_key_opens_for_its_account_and_version_alone() -> None:
    master = MasterKeys(bytes(range(32)))
    wrapped = master.wrap(WorkspaceId("account-1"), 1, b"k" * 32)

    assert master.unwrap(WorkspaceId("account-1"), wrapped) == b"k" * 32
    with pytest.raises(WrongKey):
        master.unwrap(WorkspaceId("account-2"), wrapped)
    with pytest.raises(WrongKey):
        MasterKeys(bytes(32)).unwrap(WorkspaceId("account-1"), wrapped)


# Rows that somebody exchanged


def _exchange(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        for table in ("secrets", "data_keys"):
            connection.execute(f"CREATE TEMP TABLE old_{table} AS SELECT * FROM {table}")
        assert connection.execute(statement).rowcount > 0
        connection.commit()


_OTHER_NAME: Final = "o.workspace_id = secrets.workspace_id AND o.key <> secrets.key"
_OTHER_ACCOUNT: Final = "o.workspace_id <> secrets.workspace_id AND o.key = secrets.key"
EXCHANGES: Final = {
    "names": f"UPDATE secrets SET sealed = (SELECT sealed FROM old_secrets o WHERE {_OTHER_NAME})",
    "accounts": f"UPDATE secrets SET sealed = (SELECT sealed FROM old_secrets o WHERE {_OTHER_ACCOUNT})",
    "renamed": "UPDATE secrets SET key = key || '_2'",
    "a byte": "UPDATE secrets SET sealed = CAST(sealed || x'00' AS BLOB)",
    "empty": "UPDATE secrets SET sealed = x''",
    "data keys": "UPDATE data_keys SET wrapped = (SELECT wrapped FROM old_data_keys o"
    " WHERE o.workspace_id <> data_keys.workspace_id)",
    "no data keys": "DELETE FROM data_keys",
    "versions": "UPDATE data_keys SET version = version + 1",
    "both versions": "UPDATE secrets SET key_version = key_version + 1",
}


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_s22_exchanged_rows_fail_closed(tmp_path: Path, exchange: str) -> None:
    async with program_at(tmp_path / "data") as program:
        ids = []
        for name in ("a", "b"):
            account = await program.services.accounts.create(
                name=name, email=f"{name}@example.com", password="five-blue-otters-swim", role="user"
            )
            ids.append(account.id)
            for key in ("ONE", "TWO"):
                await program.vault.set(
                    personal_workspace(account.id), key, f"the value {key} of {name}", at=account.created_at
                )
            assert (await program.vault.reveal(personal_workspace(account.id), ["ONE"]))[
                "ONE"
            ] == f"the value ONE of {name}"

        _exchange(tmp_path / "data" / "flowrunner.db", EXCHANGES[exchange])

        for id in ids:
            with pytest.raises(WrongKey) as caught:
                await program.vault.reveal(personal_workspace(id), ["ONE", "ONE_2"])
            assert "the value" not in str(caught.value)


def _contents(directory: Path) -> Any:
    """What the keys and the database hold, whatever the database did to its own files."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and "flowrunner.db" not in path.name]
    with closing(sqlite3.connect(directory / "flowrunner.db")) as connection:
        return list(connection.iterdump()), [(path, path.read_bytes()) for path in files]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a server that has stored a secret and was stopped."""
    directory = tmp_path_factory.mktemp("prepared")
    server = Server(directory, program=REAL_HASHES)
    try:
        server.start().admin().new_secret("KEY", PLAIN)
        server.terminate()
        assert server.wait() == 0
    finally:
        server.stop()
    return directory


@pytest.fixture
def stopped(prepared: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of its own with that data."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize(
    "fault", ["wrong master", "no master", "short master", "empty master", "no signing", "no keys", "key is a folder"]
)
def test_s24_without_its_keys_the_server_refuses_to_start_and_changes_nothing(stopped: Server, fault: str) -> None:
    keys = stopped.data_dir / "keys"
    master, signing = keys / "master.key", keys / "signing.key"
    kept = {path: path.read_text() for path in (master, signing)}
    match fault:
        case "wrong master":
            master.write_text(secrets.token_hex(32))
        case "no master":
            master.unlink()
        case "short master":
            master.write_text(kept[master][:40])
        case "empty master":
            master.write_text("")
        case "no signing":
            signing.unlink()
        case "no keys":
            shutil.rmtree(keys)
        case "key is a folder":
            master.unlink()
            master.mkdir(mode=0o700)
    before = _contents(stopped.data_dir)

    stopped.spawn()

    assert stopped.wait(20) != 0
    assert _contents(stopped.data_dir) == before
    assert "Traceback" not in stopped.log
    assert "flowrunner: " in stopped.log.splitlines()[-1]
    # With the keys back all is as it was.
    if master.is_dir():
        master.rmdir()
    keys.mkdir(mode=0o700, exist_ok=True)
    for path, text in kept.items():
        path.write_text(text)
        path.chmod(0o600)
    admin = stopped.start().admin()
    execution = admin.run_to_end(
        "nodes:\n  a: {type: transform, params: {value: '${secrets.KEY}'}, next: r}\n"
        "  r: {type: return, params: {value: done}}\n"
    )
    assert execution["status"] == "completed"


# Files


def _modes(directory: Path) -> dict[str, int]:
    return {str(p.relative_to(directory)): p.stat().st_mode & 0o777 for p in [directory, *directory.rglob("*")]}


def test_s30_s58_only_the_owner_can_read_the_data(tmp_path: Path) -> None:
    server = Server(tmp_path, {"ADMIN_EMAIL": None, "ADMIN_PASSWORD": None})
    try:
        server.start()
        modes = _modes(server.data_dir)
    finally:
        server.stop()

    assert {name for name in modes if modes[name] & 0o077} == set()
    assert {"keys/master.key", "keys/signing.key", "flowrunner.db", "setup-token"} <= modes.keys()


@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("", 0o755), ("", 0o701), ("", 0o710), ("", 0o770), ("keys", 0o750), ("keys/master.key", 0o644),
        ("keys/master.key", 0o640), ("keys/master.key", 0o604), ("keys/signing.key", 0o644),
        ("keys/signing.key", 0o640),
    ],
)  # fmt: skip
def test_s30_s58_what_others_can_read_is_refused(stopped: Server, place: str, mode: int) -> None:
    path = stopped.data_dir / place
    key = (stopped.data_dir / "keys" / "master.key").read_bytes()
    path.chmod(mode)

    stopped.spawn()

    assert stopped.wait(20) == 1
    assert "can be read by others" in stopped.log
    assert f"run 'chmod {0o600 if place.endswith('.key') else 0o700:o} " in stopped.log
    assert str(path) in stopped.log
    assert "Traceback" not in stopped.log
    assert (stopped.data_dir / "keys" / "master.key").read_bytes() == key


def test_s30_a_crash_leaves_no_image_of_the_memory(stopped: Server) -> None:
    stopped.start()
    limits = Path(f"/proc/{stopped.pid}/limits")
    if limits.exists():
        (line,) = [line for line in limits.read_text().splitlines() if line.startswith("Max core file size")]
        assert line.split()[-3:] == ["0", "0", "bytes"]
    before = set(stopped.data_dir.parent.rglob("*"))

    os.kill(stopped.pid, signal.SIGSEGV)

    assert stopped.wait() == -signal.SIGSEGV
    left = {path.name for path in set(stopped.data_dir.parent.rglob("*")) - before}
    assert {name for name in left if "core" in name} == set()


def test_s12_keys_are_not_in_the_database(stopped: Server) -> None:
    data = b"".join(path.read_bytes() for path in stopped.data_dir.glob("flowrunner.db*"))

    for name in ("master", "signing"):
        key = bytes.fromhex((stopped.data_dir / "keys" / f"{name}.key").read_text().strip())
        assert len(key) == 32
        for form in (key, key.hex().encode(), base64.b64encode(key)):
            assert form not in data


def test_s01_passwords_are_stored_as_argon2id(stopped: Server) -> None:
    with closing(sqlite3.connect(stopped.database)) as connection:
        hashes = [row[0] for row in connection.execute("SELECT password_hash FROM accounts")]

    assert hashes
    assert all(hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for hash in hashes)


# Elsewhere


def test_s29_private_headers_do_not_follow_a_redirect_to_another_host(account: Client, receiver: Receiver) -> None:
    account.new_secret("PLAIN", PLAIN)
    began = len(receiver.effects())
    elsewhere = receiver.url.replace("127.0.0.1", "localhost")
    definition = f"""nodes:
  a:
    type: http.request
    params:
      url: "{receiver.url}/redirect"
      query: {{to: "{elsewhere}/echo"}}
      follow_redirects: true
      headers: {{Authorization: "Bearer ${{secrets.PLAIN}}", Cookie: "a=${{secrets.PLAIN}}"}}
"""
    account.run_to_end(definition)

    arrived = receiver.effects()[began:]
    assert PLAIN in arrived[0].headers["authorization"]
    for effect in arrived[1:]:
        assert PLAIN not in str(effect)


# What is written is never read

RETURNS: Final = {"nodes": {"a": {"type": "return", "params": {"value": "${secrets.KEY}"}}}}
LOGS: Final = {"nodes": {"a": {"type": "log", "params": {"message": "${secrets.KEY}"}}}}


def test_s25_no_answer_gives_a_secret_back(account: Client, admin: Client, scoreboard: Scoreboard) -> None:
    account.new_secret("KEY", PLAIN)
    account.new_secret("KEY", f"{PLAIN}-2")
    path = f"/api/v1/accounts/{account.account_id}"
    flow = account.new_flow(json.dumps(RETURNS))
    execution = account.run(flow)
    account.ended(execution)
    account.put(f"/api/v1/flows/{flow}", {"definition": json.dumps(LOGS)})
    again = account.post(f"/api/v1/executions/{execution}/rerun", {}).json["execution_id"]
    account.ended(again)
    document = admin.get("/api/v1/openapi.json").json
    workspace = account.get("/api/v1/workspaces").json["workspaces"][0]["id"]
    parts = {
        "account_id": account.account_id, "key": "KEY", "number": "1", "node": "a", "execution_id": execution,
        "step_id": "a.1", "name": "A%20flow", "delivery_id": "none", "token": "none",
    }  # fmt: skip
    ids = {"flows": flow, "executions": execution, "accounts": account.account_id, "workspaces": workspace}

    answers = []
    for template, operations in document["paths"].items():
        if "get" in operations:
            kind = next((kind for kind in ids if f"/{kind}/{{id}}" in template), "flows")
            address = template.format(**{"id": ids[kind], **parts})
            answers += [
                client.request(verb, address) for client in (account, admin) for verb in ("GET", "HEAD", "OPTIONS")
            ]
    for verb in ("GET", "PUT", "PATCH", "HEAD"):
        for address in (f"{path}/secrets/KEY", f"{path}/secrets/KEY/value", f"{path}/secrets?reveal=true&values=1"):
            answers += [client.request(verb, address) for client in (account, admin)]
    answers.append(account.post(f"{path}/secrets", {"key": "KEY", "value": "x"}))
    answers.append(account.post(f"{path}/secrets", {"key": "-", "value": PLAIN}))

    showing = [answer for answer in answers if PLAIN.encode() in answer.body or PLAIN in str(answer.headers)]
    scoreboard.count("answers that give a secret back", cases=len(answers), failures=len(showing))
    assert showing == []
    assert len(answers) > 60
    assert sum(answer.status == 200 for answer in answers) > 20


# A password's own characters cut the URL: what follows would be taken for a port, a name or an option, and be shown.
CUT: Final = ("hush/quiet", "hush?quiet", "hush#quiet", "hush[quiet", "hush℀quiet", "hush/quiet@more", "hush?a=quiet")


def test_s26_a_replaced_value_is_hidden_until_no_open_execution_began_before(hasty_server: Server) -> None:
    account = hasty_server.admin().new_account()
    echo = account.new_flow("nodes: {a: {type: return, params: {value: '${flow.input.text}'}}}")

    def shown() -> Any:
        return account.ended(account.run(echo, {"text": f"<{PLAIN}>"}))["result"]

    account.new_secret("KEY", PLAIN)
    waiting = account.run(account.new_flow("nodes: {a: {type: wait, params: {key: go}}}"))
    account.new_secret("KEY", "another value")
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert shown() == "<***>"

    account.post(f"/api/v1/executions/{waiting}/signals/go", {})
    account.ended(waiting)
    until = time.monotonic() + 20.0
    while shown() != f"<{PLAIN}>":
        assert time.monotonic() < until, "it is never forgotten"


@pytest.mark.parametrize("password", CUT)
def test_s26_a_password_that_cuts_the_url_of_its_database_is_not_shown(password: str, tmp_path: Path) -> None:
    url = f"postgresql://flow:{password}@127.0.0.1:1/flows"

    with pytest.raises(InvalidSettings, match="FLOWRUNNER_DATABASE_URL: cannot be read: write") as refused:
        load_settings({}, {"FLOWRUNNER_DATABASE_URL": url})
    with pytest.raises(FlowRunnerError, match="--to cannot be read: write") as not_copied:
        copy(Settings(data_dir=tmp_path), source=None, target=url)

    for word in ("hush", "quiet", "more"):
        assert word not in f"{refused.value} {not_copied.value}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://flow:hush%2Fquiet@127.0.0.1:1/flows",
        "postgresql://flow:hush@one.example:5432,two.example:5433/flows?target_session_attrs=primary",
        "postgres://flow@/flows?host=/var/run/postgresql",
        "postgresql://flow:hu@sh@[::1]/flows",
    ],
)
def test_urls_that_databases_understand_are_taken(url: str) -> None:
    assert load_settings({}, {"FLOWRUNNER_DATABASE_URL": url}).database_url == url
