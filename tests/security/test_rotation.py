"""Keys are replaced while they are in use, and whatever was sealed or signed stays good."""

import asyncio
import base64
import importlib
import json
import os
import pkgutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from inspect import get_annotations
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner import security
from flowrunner.bootstrap.data import open_data
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import AccountId, ExecutionId, SessionId, personal_workspace
from flowrunner.metrics import Metrics
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import WrongKey
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.sign_on import LoginState
from flowrunner.security import rotation
from flowrunner.security.approval_links import SignedApprovalLinks
from flowrunner.security.credentials import JwtIssuer, StateTokens
from flowrunner.security.keys import SIGNING, KeyRing, forget_key
from flowrunner.security.mailed_tokens import SignedMailedTokens
from flowrunner.security.vault import seal
from flowrunner.settings import Settings
from flowrunner.storage.keys import SqlKeyRotations
from flowrunner.storage.secrets import SqlSecrets
from support.asgi import call, program_at
from support.client import PASSWORD, Client
from support.conformance import SEED
from support.dependencies import SteppingClock
from support.preloaded import run_forked
from support.server import Server, clean_environment

KINDS: Final = ["master", "data", "signing"]
USES_IT: Final = """nodes:
  use: {type: transform, params: {value: "${secrets.KEY}"}, next: done}
  done: {type: return, params: {value: used}}
"""
# A million is for whoever has some seconds; fewer do for every day.
NONCES: Final = int(os.environ.get("NONCES", "50000"))


def test_s24_after_a_kill_at_any_step_everything_opens_and_the_rotation_ends(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    program = Path(__file__).with_name("rotations.py")
    # Every other step by the day, and each under `make security`.
    first, every = (1, 1) if pytestconfig.getoption("--scoreboard") else (1 + int(SEED) % 2, 2)

    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), str(first), str(every)],
        capture_output=True, text=True, check=False,
        env=clean_environment(PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert len(told["steps"]) >= 30
    assert told["kills"] == len(told["steps"][first - 1 :: every])
    assert set(told["steps"]) == {"commit", "open", "fdopen", "fsync", "rename", "unlink"}


def test_s12_s24_a_rotation_under_load_refuses_nobody_and_loses_nothing(server: Server, admin: Client) -> None:
    accounts = [admin.new_account() for _ in range(3)]
    for n, account in enumerate(accounts):
        account.new_secret("KEY", f"the value of number {n}")
    ended, faults = threading.Event(), []

    def use(account: Client) -> None:
        flow = account.new_flow(USES_IT)
        while not ended.is_set():
            account.new_secret("OTHER", "another value to be sealed")
            reply = account.post(f"/api/v1/flows/{flow}/run", {"input": {}})
            if reply.status != 201:
                faults.append(reply)
                return
            execution = account.ended(reply.json["execution_id"])
            if execution["status"] != "completed":
                faults.append(execution)
            # Signed with whatever key is the present one.
            account.login(account.email, PASSWORD)

    threads = [threading.Thread(target=use, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            before = _key_files(server)
            asked = admin.post("/api/v1/keys/rotations", {"kinds": KINDS[::-1]})
            assert asked.status == 202, asked
            _until_rotated(admin)
            assert not before & _key_files(server), "both files hold other keys"
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert faults == []
    assert admin.get("/api/v1/accounts").status == 200, "a token of before the first rotation"
    with closing(sqlite3.connect(server.database)) as connection:
        versions = [row[0] for row in connection.execute("SELECT max(version) FROM data_keys GROUP BY workspace_id")]
        assert min(versions) >= 5
        assert connection.execute("SELECT count(DISTINCT master_key_id) FROM data_keys").fetchone() == (1,)
        assert connection.execute("SELECT count(*) - count(DISTINCT workspace_id) FROM data_keys").fetchone() == (0,)


def _key_files(server: Server) -> set[str]:
    return {(server.data_dir / "keys" / f"{name}.key").read_text() for name in ("master", "signing")}


def _until_rotated(admin: Client) -> None:
    """Until all is replaced, in the order asked for; earlier signing keys stay for the tokens that are out."""
    for _ in range(1000):
        rotations = admin.get("/api/v1/keys/rotations", limit=100).json["rotations"]
        if all(rotation["status"] == "completed" for rotation in rotations if rotation["kind"] != "signing"):
            return
    raise AssertionError(rotations)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.start().admin().new_secret("KEY", "a value to keep")
        yield server
    finally:
        server.stop()


def _rotate(server: Server, *kinds: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "flowrunner", "keys", "rotate", *kinds, "--data-dir", str(server.data_dir)]
    return run_forked(command, cwd=Path.cwd(), env=clean_environment())


def test_s24_an_operator_replaces_the_keys_of_a_stopped_server(stopped: Server) -> None:
    admin, before = stopped.admin(), _key_files(stopped)
    refused = _rotate(stopped, "master")
    assert refused.returncode == 1
    assert "Another FlowRunner server is using" in refused.stderr
    stopped.terminate()
    stopped.wait()

    done = _rotate(stopped, *KINDS)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == ["master: replaced", "data: replaced"]
    assert done.stdout.splitlines()[2].startswith("signing: replaced; the earlier key is kept for open sessions until")
    assert not before & _key_files(stopped)
    again = Client(stopped.start().url, admin.token)
    again.account_id = admin.account_id
    assert again.run_to_end(USES_IT)["status"] == "completed", "by a token that the earlier key has signed"


def test_a_kind_of_key_that_there_is_not_is_refused(stopped: Server) -> None:
    assert _rotate(stopped, "mister").returncode == 2
    assert stopped.admin().post("/api/v1/keys/rotations", {"kinds": ["mister"]}).status == 422
    assert stopped.admin().post("/api/v1/keys/rotations", {"kinds": []}).status == 422


async def test_s12_an_earlier_signing_key_is_forgotten_when_no_token_of_it_can_be_left(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path / "data", token_life=3600.0), SteppingClock(_real_now())
    earlier = []
    async with open_data(settings, clock=clock, metrics=Metrics()) as stored:  # type: ignore[arg-type]
        session = NewSession(
            id=SessionId("s-1"), account_id=AccountId("a"), role="user", expires_at=_real_now() + timedelta(hours=1)
        )
        token = stored.tokens.issue(session, now=_real_now())
        await stored.keys.request(None, ["signing"])
        await stored.keys.advance()
        newer = stored.tokens.issue(session, now=_real_now())
        for hours in (0, 0.9, 0.2):
            clock.advance(hours=hours)
            await stored.keys.advance()
            earlier.append(len(list((settings.data_dir / "keys").glob("signing.*.key"))))
            if earlier[-1]:
                assert stored.tokens.verify(token) == "s-1"
        with pytest.raises(Unauthorized):
            stored.tokens.verify(token)
        assert stored.tokens.verify(newer) == "s-1"
    assert earlier == [1, 1, 0]


def _signers(ring: KeyRing) -> dict[type, tuple[Callable[[], str], Callable[[str], bool]]]:
    """Return two functions for each class that signs with a key: one signs something, one says if that is good."""

    def is_good(read: Callable[[str], object]) -> Callable[[str], bool]:
        def check(text: str) -> bool:
            try:
                return read(text) not in (None, False)
            except Unauthorized:
                return False

        return check

    at = _real_now() + timedelta(hours=1)
    session = NewSession(id=SessionId("s-1"), account_id=AccountId("a"), role="user", expires_at=at)
    state = LoginState(provider="p", state="s", nonce="n", verifier="v", next="/", session=None)
    tokens, states, mailed = JwtIssuer(ring), StateTokens(ring), SignedMailedTokens(ring)
    links = SignedApprovalLinks(ring, public_url="https://flows.example.com")
    place = ApprovalPlace(ExecutionId("exec-" + "1" * 36), 3, at)
    return {
        JwtIssuer: (lambda: tokens.issue(session, now=_real_now()), is_good(tokens.verify)),
        StateTokens: (lambda: states.sign(state, expires_at=at), is_good(states.open)),
        SignedApprovalLinks: (lambda: str(links.url(place)).rpartition("/")[2], is_good(links.read)),
        SignedMailedTokens: (lambda: mailed.mailed("token"), is_good(lambda text: mailed.read(text)[1])),
    }


def _made_by(kind: Any) -> Callable[..., None]:
    made_by: Callable[..., None] = kind.__init__
    return made_by


def test_s12_what_an_earlier_key_has_signed_is_good_until_that_key_is_forgotten() -> None:
    first, second = KeyRing(SIGNING, b"1" * 32), KeyRing(SIGNING, b"2" * 32)
    begun, rotated = KeyRing(SIGNING, b"2" * 32, [b"1" * 32]), KeyRing(SIGNING, b"1" * 32)
    rotated.use(rotated.learn(b"2" * 32))
    signed = {which: sign() for which, (sign, _) in _signers(first).items()}
    # Seeds of mailed tokens, which the texts of mails are made from later.
    token, seed = SignedMailedTokens(first).new()

    def good(ring: KeyRing) -> set[type]:
        return {which for which, (_, is_good) in _signers(ring).items() if is_good(signed[which])}

    everything = {
        each
        for module in pkgutil.iter_modules(security.__path__)
        for each in vars(importlib.import_module(f"{security.__name__}.{module.name}")).values()
        if isinstance(each, type) and next(iter(get_annotations(_made_by(each)).values()), None) is KeyRing
    }
    assert signed.keys() == everything
    for ring in (first, begun, rotated):
        assert good(ring) == everything
        assert SignedMailedTokens(ring).derived(seed) == token
    rotated.forget(first.id)
    for ring in (second, rotated):
        assert good(ring) == set()
        assert SignedMailedTokens(ring).derived(seed) is None


async def test_s12_a_kid_is_looked_up_among_the_keys_and_nowhere_else(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        await program.services.keys.request(None, ["signing"])
        await program.services.keys.advance()
        for kid in ("", "../master", "master", "0" * 16, "signing"):
            header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": kid})
            token = ".".join((_b64(header), _b64("{}"), _b64("x")))
            reply = await call(program.app, "GET", "/api/v1/flows", token=token)
            assert reply.status == 401


async def test_s24_what_cannot_be_opened_does_not_hold_up_a_rotation_and_is_kept(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        ids = []
        for name in ("a", "b"):
            account = await program.services.accounts.create(
                name=name, email=f"{name}@example.com", password=PASSWORD, role="user"
            )
            ids.append(account.id)
            for key in ("GOOD", "BAD"):
                await program.vault.set(personal_workspace(account.id), key, f"the value {key}", at=account.created_at)
        broken = "UPDATE secrets SET sealed = CAST(sealed || x'00' AS BLOB) WHERE key = 'BAD' AND workspace_id = ?"
        with closing(sqlite3.connect(tmp_path / "data" / "flowrunner.db")) as connection, connection:
            connection.execute(broken, (ids[0],))
        sealed = {s.key: s for s, _ in await SqlSecrets(program.database).sealed(personal_workspace(ids[0]))}["BAD"]

        await program.services.keys.request(None, ["master", "data"])
        await program.services.keys.advance()

        assert [
            r.kind for r in (await program.services.keys.page(Page(limit=9, offset=0)))[0] if r.completed_at is None
        ] == []
        for id in ids:
            assert await program.vault.reveal(personal_workspace(id), ["GOOD"]) == {"GOOD": "the value GOOD"}
        with pytest.raises(WrongKey):
            await program.vault.reveal(personal_workspace(ids[0]), ["BAD"])
        after = {s.key: s for s, _ in await SqlSecrets(program.database).sealed(personal_workspace(ids[0]))}["BAD"]
        assert after == sealed, "it is as it was, with the key that it may open with one day"


async def test_s24_the_master_key_of_a_data_key_that_cannot_be_opened_is_kept(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with program_at(data_dir) as program:
        account = await program.services.accounts.create(
            name="N", email="n@example.com", password=PASSWORD, role="user"
        )
        await program.vault.set(personal_workspace(account.id), "KEY", "a value to keep", at=account.created_at)
    with closing(sqlite3.connect(data_dir / "flowrunner.db")) as connection, connection:
        (wrapped,) = connection.execute("SELECT wrapped FROM data_keys").fetchone()
        connection.execute("UPDATE data_keys SET wrapped = CAST(wrapped || x'00' AS BLOB)")

    for _ in range(2):
        async with program_at(data_dir) as program:
            await program.services.keys.request(None, ["master"])
            await program.services.keys.advance()
            assert len(list((data_dir / "keys").glob("master.*.key"))) == 1

    with closing(sqlite3.connect(data_dir / "flowrunner.db")) as connection, connection:
        connection.execute("UPDATE data_keys SET wrapped = ?", (wrapped,))
    async with program_at(data_dir) as program:
        assert await program.vault.reveal(personal_workspace(account.id), ["KEY"]) == {"KEY": "a value to keep"}, (
            "from a backup"
        )


async def test_s24_a_rotation_asked_for_twice_is_one(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        asked = [await program.services.keys.request(None, ["master", "data", "signing"]) for _ in range(2)]
        assert asked[0] == asked[1]
        await program.services.keys.advance()
        again = await program.services.keys.request(None, ["master", "data", "signing"])
        assert not {r.id for r in again} & {r.id for r in asked[0]}


async def test_s24_a_rotation_wraps_every_data_key_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_REWRAPPED_AT_ONCE", 1)
    async with program_at(tmp_path / "data") as program:
        accounts = [
            await program.services.accounts.create(
                name="N", email=f"n{number}@example.com", password=PASSWORD, role="user"
            )
            for number in range(3)
        ]
        for account in accounts:
            await program.vault.set(personal_workspace(account.id), "KEY", "a value to keep", at=account.created_at)
        await program.services.keys.request(None, ["master"])
        await program.services.keys.advance()

    with closing(sqlite3.connect(tmp_path / "data" / "flowrunner.db")) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT master_key_id) FROM data_keys").fetchone() == (3, 1)


async def test_s24_a_secret_set_while_keys_change_opens_afterwards(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        account = await program.services.accounts.create(
            name="N", email="n@example.com", password=PASSWORD, role="user"
        )

        async def write(n: int) -> None:
            for turn in range(20):
                await program.vault.set(
                    personal_workspace(account.id), f"KEY_{n}", f"the value {n} {turn}", at=account.created_at
                )

        async def rotate() -> None:
            for _ in range(10):
                await program.services.keys.request(None, ["data", "master"])
                await program.services.keys.advance()

        await asyncio.gather(rotate(), *(write(n) for n in range(5)))

        names = [f"KEY_{n}" for n in range(5)]
        assert await program.vault.reveal(personal_workspace(account.id), names) == {
            name: f"the value {name[-1]} 19" for name in names
        }


def _real_now() -> datetime:
    return datetime.now(UTC)


def _b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_forgetting_a_key_that_is_gone_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()

    forget_key(tmp_path, "master", "0" * 16)


def test_s23_no_nonce_comes_twice() -> None:
    nonces = {seal(bytes(32), b"", context="c")[:12] for _ in range(NONCES)}

    assert len(nonces) == NONCES
    # Every bit of it is drawn.
    for position in range(12):
        assert len({nonce[position] for nonce in nonces}) == 256


async def test_s24_no_key_is_used_while_the_processes_that_need_it_are_not_seen(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path / "data"), SteppingClock(_real_now())
    async with open_data(settings, clock=clock, metrics=Metrics()) as stored:  # type: ignore[arg-type]
        # As beside other processes whose connections to the database are lost at the moment.
        stored.rotator._is_shared = True
        await stored.keys.request(None, ["master", "signing"])
        for _ in range(2):
            await stored.keys.advance()
            clock.advance(minutes=1)

        assert [each.switched_at for each in await SqlKeyRotations(stored.database).under_way()] == [None, None]
        assert stored.rotator.is_waiting
