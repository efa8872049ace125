"""Attacks on the second factor of a login, by somebody who knows the password."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrunner.bootstrap.program import Program
from flowrunner.domain.second_factor import FREE_WRONG_CODES, MOST_WRONG_CODES, wait_after
from flowrunner.domain.values import personal_workspace
from flowrunner.security.totp import TotpCodes
from flowrunner.services.second_step import MOST_ANSWERS
from support.asgi import call, connect, program_at
from support.client import PASSWORD, Reply
from support.codes import code_of
from support.scoreboard import Scoreboard

LOGIN, STEP, FACTORS = "/api/v1/auth/login", "/api/v1/auth/second-factor", "/api/v1/second-factors"


@dataclass
class Attack:
    """A program with an account that has a second factor, and what was tried on it."""

    program: Program
    database: Path
    token: str = ""
    account_id: str = ""
    secret: str = ""
    recovery: list[str] = field(default_factory=list)
    tried: int = 0
    taken: list[str] = field(default_factory=list)
    # Codes count once, so each login takes a later one; the third is beyond what is accepted.
    steps: int = 0

    async def send(self, method: str, path: str, body: Any = None, token: str | None = None) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        return await call(self.program.app, method, path, token=token, body=data)

    async def new_account(self, name: str, role: str = "user") -> str:
        email = f"{name}@example.com"
        await self.program.services.accounts.create(name=name, email=email, password=PASSWORD, role=role)  # type: ignore[arg-type]
        reply = await self.send("POST", LOGIN, {"username": email, "password": PASSWORD})
        self.account_id = reply.json["account_id"]
        return str(reply.json["token"])

    async def enrol(self, token: str) -> tuple[str, list[str], str]:
        """Return the secret, the recovery codes and the id."""
        made = (await self.send("POST", f"{FACTORS}/totp", {}, token)).json
        confirmed = await self.send("POST", f"{FACTORS}/{made['id']}/confirm", {"code": code_of(made["secret"])}, token)
        assert confirmed.status == 200, confirmed
        return made["secret"], confirmed.json["recovery_codes"], made["id"]

    async def challenge(self, name: str = "mara") -> str:
        reply = await self.send("POST", LOGIN, {"username": f"{name}@example.com", "password": PASSWORD})
        assert (reply.status, reply.error["code"]) == (401, "second_factor_required"), reply
        return str(reply.error["details"]["second_factor"]["challenge"])

    async def answer(self, challenge: Any, **answer: Any) -> Reply:
        return await self.send("POST", STEP, {"challenge": challenge, **answer})

    def check(self, what: str, *replies: Reply) -> None:
        """Note an attack, and whether any of its answers logged in or was an error of the server."""
        self.tried += 1
        if any(not 400 <= reply.status < 500 for reply in replies):
            self.taken.append(what)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return list(connection.execute(statement))

    async def change(self, statement: str) -> None:
        await self.program.database.write(lambda tx: tx.run(statement))


@asynccontextmanager
async def attack_at(directory: Path, **settings: Any) -> AsyncIterator[Attack]:
    async with program_at(directory / "data", **settings) as program:
        attack = Attack(program, directory / "data" / "flowrunner.db")
        attack.token = await attack.new_account("mara", "admin")
        attack.secret, attack.recovery, _ = await attack.enrol(attack.token)
        yield attack


def wrong_code(secret: str) -> str:
    right = {code_of(secret, steps=steps) for steps in range(-3, 4)}
    return next(code for number in range(100) if (code := f"{number:06}") not in right)


async def test_s03_a_login_that_began_with_the_password_before_a_reset_opens_no_session(tmp_path: Path) -> None:
    async with attack_at(tmp_path) as attack:
        account_id = attack.account_id
        admin, challenge = await attack.new_account("root", "admin"), await attack.challenge()
        made = await attack.send("POST", f"/api/v1/accounts/{account_id}/password-reset", {}, admin)
        body = {"token": made.json["link"].partition("#")[2], "password": "nine-red-badgers-dig"}
        assert (await attack.send("POST", "/api/v1/auth/new-password", body)).status == 200

        assert (await attack.answer(challenge, recovery_code=attack.recovery[0])).status == 401


async def test_s03_s07_wrong_and_foreign_answers_open_no_session(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with attack_at(tmp_path) as attack:
        other_token = await attack.new_account("omar")
        other_secret, other_recovery, _ = await attack.enrol(other_token)
        right = code_of(attack.secret, steps=1)
        sessions = attack.rows("SELECT count(*) FROM sessions")

        answers: dict[str, dict[str, Any]] = {
            "no answer": {},
            "two answers": {"code": right, "recovery_code": attack.recovery[0]},
            "the code that confirmed the key": {"code": code_of(attack.secret)},
            "a code of two minutes ago": {"code": code_of(attack.secret, steps=-4)},
            "a code of the next but one step": {"code": code_of(attack.secret, steps=3)},
            "another account's code": {"code": code_of(other_secret, steps=1)},
            "another account's recovery code": {"recovery_code": other_recovery[0]},
            "a code as a recovery code": {"recovery_code": right},
            "a recovery code as a code": {"code": attack.recovery[0]},
            "an empty code": {"code": ""},
            "a code with more digits": {"code": f"{right}0"},
            "digits of another script": {"code": right.translate({48 + n: 0x0660 + n for n in range(10)})},
            "a number": {"code": int(right)},
            "a list of codes": {"code": [right]},
            "wildcards": {"recovery_code": "%" * 16},
            "a digest": {"recovery_code": attack.rows("SELECT digest FROM recovery_codes")[0][0][:40]},
            "an invented passkey": {"passkey": {"id": "x", "rawId": "x", "type": "public-key", "response": {}}},
            "an empty passkey": {"passkey": {}},
        }
        for what, answer in answers.items():
            await attack.change("DELETE FROM wrong_codes")
            attack.check(what, await attack.answer(await attack.challenge(), **answer))
        await attack.change("DELETE FROM wrong_codes")
        mine, theirs = await attack.challenge(), await attack.challenge("omar")
        for what, challenge in {
            "an invented challenge": "x" * 43,
            "the digest of a challenge": attack.rows("SELECT digest FROM login_challenges")[0][0],
            "another account's challenge": theirs,
            "a session's token": attack.token,
            "no challenge": "",
        }.items():
            attack.check(what, await attack.answer(challenge, code=right))
        for what, path in {
            "a challenge as a token": "/api/v1/flows",
            "a challenge as a session": "/api/v1/sessions",
        }.items():
            attack.check(what, await attack.send("GET", path, None, mine))

        assert attack.rows("SELECT count(*) FROM sessions") == sessions
        assert (await attack.answer(mine, code=right)).status == 200
    scoreboard.count("second factor: logins that attacks opened", cases=attack.tried, failures=len(attack.taken))
    assert attack.taken == []


async def test_s03_s60_a_factor_counts_once_it_is_confirmed_and_guesses_are_told(tmp_path: Path) -> None:
    async with attack_at(tmp_path) as attack:
        account_id = attack.account_id
        assert (await attack.send("POST", f"{FACTORS}/totp", {"name": "pending"}, attack.token)).status == 201
        listed = (await attack.send("GET", FACTORS, None, attack.token)).json["second_factors"]
        assert [factor["name"] for factor in listed] == ["Authenticator app"]

        for answer in ({"code": wrong_code(attack.secret)}, {"recovery_code": "aaaa-bbbb-cccc-dddd"}):
            assert (await attack.answer(await attack.challenge(), **answer)).status == 401
        await attack.program.services.audit.settle()

        assert attack.rows("SELECT workspace_id FROM audit WHERE action = 'login.failed'") == [(account_id,)] * 2


async def test_s08_codes_and_challenges_count_once(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with attack_at(tmp_path) as attack:
        challenges = [await attack.challenge() for _ in range(8)]
        code = code_of(attack.secret, steps=1)

        at_once = await asyncio.gather(*(attack.answer(challenge, code=code) for challenge in challenges))

        attack.tried += 1
        if sum(reply.status == 200 for reply in at_once) != 1:
            attack.taken.append("a code in several logins at the same time")
        attack.check("a code again", await attack.answer(await attack.challenge(), code=code))
        challenge, recovery = await attack.challenge(), attack.recovery[0]
        assert (await attack.answer(challenge, recovery_code=recovery.upper().replace("-", " "))).status == 200
        attack.check("a recovery code again", await attack.answer(await attack.challenge(), recovery_code=recovery))
        attack.check("a challenge again", await attack.answer(challenge, recovery_code=attack.recovery[1]))
        same = await attack.challenge()
        at_once = await asyncio.gather(*(attack.answer(same, recovery_code=text) for text in attack.recovery[2:6]))
        attack.tried += 1
        if sum(reply.status == 200 for reply in at_once) != 1:
            attack.taken.append("one challenge with several codes at the same time")
        expired = await attack.challenge()
        await attack.change("UPDATE login_challenges SET expires_at = 1")
        attack.check("an expired challenge", await attack.answer(expired, recovery_code=attack.recovery[6]))
        left = len(attack.rows("SELECT * FROM recovery_codes"))
        assert left == 8
        replaced = await attack.send("POST", f"{FACTORS}/recovery-codes", None, attack.token)
        assert len(replaced.json["recovery_codes"]) == 10
        old = await attack.answer(await attack.challenge(), recovery_code=attack.recovery[7])
        attack.check("a recovery code that was replaced", old)
        pending = await attack.challenge()
        assert (await attack.send("PUT", "/api/v1/accounts/me", {
            "password": "nine-red-badgers-dig", "current_password": PASSWORD}, attack.token)).status == 200  # fmt: skip
        new_code = replaced.json["recovery_codes"][0]
        attack.check("a challenge after a new password", await attack.answer(pending, recovery_code=new_code))
    scoreboard.count("second factor: codes that counted twice", cases=attack.tried, failures=len(attack.taken))
    assert attack.taken == []


async def test_s03_guesses_are_counted_for_the_account_beyond_a_restart(tmp_path: Path, scoreboard: Scoreboard) -> None:
    evaluated = 0
    async with attack_at(tmp_path) as attack:
        secret, recovery, wrong = attack.secret, attack.recovery, wrong_code(attack.secret)
        challenge = await attack.challenge()
        replies = [await attack.answer(challenge, code=wrong) for _ in range(MOST_ANSWERS + 1)]
        assert [reply.status for reply in replies] == [401] * (MOST_ANSWERS + 1)
        assert "log in again" in replies[-1].error["message"]
        evaluated += MOST_ANSWERS
        at_once = await asyncio.gather(
            *[attack.answer(await attack.challenge(), code=wrong) for _ in range(10)],
            *[attack.answer(await attack.challenge(), code=code_of(secret, steps=1)) for _ in range(3)],
        )
        evaluated += sum(reply.status == 401 for reply in at_once)
        assert evaluated == FREE_WRONG_CODES
        assert all(reply.status in (401, 429) for reply in at_once)
    async with program_at(tmp_path / "data") as program:
        attack = Attack(program, tmp_path / "data" / "flowrunner.db")
        blocked = await attack.answer(await attack.challenge(), code=code_of(secret, steps=1))
        assert blocked.status == 429
        assert 1 <= int(blocked.headers["retry-after"]) <= 30

        # After 100 wrong codes no code is checked any more; another way in resets the count.
        await attack.change(f"UPDATE wrong_codes SET number = {MOST_WRONG_CODES - 1}, not_before = 0")
        assert (await attack.answer(await attack.challenge(), code=wrong)).status == 401
        assert (await attack.answer(await attack.challenge(), code=code_of(secret, steps=1))).status == 429
        assert attack.rows("SELECT not_before > 4000000000000 FROM wrong_codes") == [(1,)]
        assert (await attack.answer(await attack.challenge(), recovery_code=recovery[0])).status == 200
        assert (await attack.answer(await attack.challenge(), code=code_of(secret, steps=1))).status == 200
        assert attack.rows("SELECT * FROM wrong_codes") == []
    scoreboard.count(
        "second factor: guesses evaluated beyond the limit", cases=16, failures=evaluated - FREE_WRONG_CODES
    )


def test_a_code_is_accepted_for_half_a_minute_before_and_after_its_time() -> None:
    codes, now = TotpCodes("FlowRunner"), datetime(2027, 1, 1, 12, tzinfo=UTC)
    # A fixed key: two of its codes are not alike by chance.
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    shown = [code_of(secret, steps=steps, at=now.timestamp()) for steps in range(-2, 3)]

    found = [codes.step_of(secret, code, at=now) for code in shown]

    present = int(now.timestamp()) // 30
    assert found == [None, present - 1, present, present + 1, None]


def test_the_address_for_an_authenticator_names_the_installation_and_the_account() -> None:
    uri = TotpCodes("Flow Runner").uri("ABC", account="a+b@example.com")

    assert uri == "otpauth://totp/Flow%20Runner:a%2Bb@example.com?secret=ABC&issuer=Flow+Runner"


def test_s03_the_wait_grows_up_to_an_hour_and_ends_at_a_hundred() -> None:
    waits = [wait_after(number).total_seconds() for number in range(1, MOST_WRONG_CODES + 1)]

    assert waits[: FREE_WRONG_CODES - 1] == [0] * (FREE_WRONG_CODES - 1)
    assert waits[FREE_WRONG_CODES - 1 : FREE_WRONG_CODES + 2] == [30, 60, 120]
    assert waits == sorted(waits)
    assert waits[-2] == 3600
    assert waits[-1] > 10**9


async def test_s04_answers_to_a_wrong_password_do_not_tell_of_a_second_factor(tmp_path: Path) -> None:
    async with attack_at(tmp_path) as attack:
        await attack.new_account("omar")

        bodies = set()
        for name in ("mara", "omar", "nobody"):
            reply = await attack.send("POST", LOGIN, {"username": f"{name}@example.com", "password": "wrong" * 4})
            assert reply.status == 401
            bodies.add(json.dumps({**reply.error, "request_id": ""}))

        assert len(bodies) == 1


async def test_s22_s26_secrets_of_second_factors_are_sealed_and_shown_once(tmp_path: Path) -> None:
    async with attack_at(tmp_path) as attack:
        shown = [
            (await attack.send("GET", path, None, attack.token)).body.decode()
            for path in (FACTORS, "/api/v1/audit?limit=1000", "/api/v1/accounts/me", "/api/v1/sessions")
        ]
        stored = b"".join(file.read_bytes() for file in attack.database.parent.glob("flowrunner.db*"))

    for secret in (attack.secret, *attack.recovery, *(code.replace("-", "") for code in attack.recovery)):
        assert secret.encode() not in stored
        assert all(secret not in text for text in shown)


async def test_s66_only_a_recent_login_changes_second_factors(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with attack_at(tmp_path) as attack:
        (factor,) = (await attack.send("GET", FACTORS, None, attack.token)).json["second_factors"]
        changes = [
            ("POST", f"{FACTORS}/totp", {}), ("POST", f"{FACTORS}/passkeys/options", None),
            ("POST", f"{FACTORS}/passkeys", {"challenge": "x", "passkey": {}}),
            ("POST", f"{FACTORS}/{factor['id']}/confirm", {"code": code_of(attack.secret)}),
            ("POST", f"{FACTORS}/recovery-codes", None), ("DELETE", f"{FACTORS}/{factor['id']}", None),
        ]  # fmt: skip
        made = await attack.send(
            "POST",
            "/api/v1/tokens",
            {"name": "N", "scopes": ["read", "run", "write", "members", "admin"]},
            attack.token,
        )
        omar = await attack.new_account("omar")
        omar_id = attack.account_id
        for method, path, body in changes:
            attack.check(f"API token: {method} {path}", await attack.send(method, path, body, made.json["token"]))
        attack.check("API token lists", await attack.send("GET", FACTORS, None, made.json["token"]))
        reset = f"/api/v1/accounts/{omar_id}/second-factors"
        attack.check("API token resets", await attack.send("DELETE", reset, None, made.json["token"]))
        attack.check("a user resets", await attack.send("DELETE", reset, None, omar))
        attack.check("another account's", await attack.send("DELETE", f"{FACTORS}/{factor['id']}", None, omar))
        await attack.change("UPDATE sessions SET logged_in_at = logged_in_at - 16 * 60 * 1000")
        attack.program.services.known_callers.drop_all()
        for method, path, body in changes:
            reply = await attack.send(method, path, body, attack.token)
            attack.check(f"old login: {method} {path}", reply)
            assert reply.error["code"] == "recent_login_required"
        refreshed = (await attack.send("POST", "/api/v1/auth/refresh", None, attack.token)).json["token"]
        attack.check("refreshed login", await attack.send("DELETE", f"{FACTORS}/{factor['id']}", None, refreshed))
        me = f"/api/v1/accounts/{(await attack.send('GET', '/api/v1/accounts/me', None, refreshed)).json['id']}"
        attack.check("an admin's own", await attack.send("DELETE", f"{me}/second-factors", None, refreshed))
    scoreboard.count("second factor: changes without a recent login", cases=attack.tried, failures=len(attack.taken))
    assert attack.taken == []


async def test_s10_the_first_second_factor_ends_other_logins_and_a_reset_ends_all(tmp_path: Path) -> None:
    async with attack_at(tmp_path) as attack:
        omar = await attack.new_account("omar")
        omar_id = attack.account_id
        login = {"username": "omar@example.com", "password": PASSWORD}
        stolen = (await attack.send("POST", LOGIN, login)).json["token"]
        program = (await attack.send("POST", "/api/v1/tokens", {"name": "N", "scopes": ["read"]}, omar)).json["token"]

        await attack.enrol(omar)

        assert (await attack.send("GET", "/api/v1/flows", None, stolen)).status == 401
        assert (await attack.send("GET", "/api/v1/flows", None, omar)).status == 200
        assert (await attack.send("GET", "/api/v1/flows", None, program)).status == 200

        reset = await attack.send("DELETE", f"/api/v1/accounts/{omar_id}/second-factors", None, attack.token)

        assert reset.status == 200
        assert (await attack.send("GET", "/api/v1/flows", None, omar)).status == 401
        assert (await attack.send("POST", LOGIN, login)).status == 200
        assert (await attack.send("GET", "/api/v1/flows", None, program)).status == 200
        told = attack.rows("SELECT action, object_id FROM audit WHERE action = 'second_factors.reset'")
        assert told == [("second_factors.reset", omar_id)]


async def test_s15_a_login_without_a_required_second_factor_can_add_one_and_nothing_else(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    async with attack_at(tmp_path, require_second_factor=True) as attack:
        token = await attack.new_account("omar")
        leaving = "/api/v1/workspaces/{id}/leave"
        allowed, wrong, tried = {"/api/v1/auth/logout", "/api/v1/auth/refresh", leaving}, [], 0
        for route in attack.program.app.routes:
            path = getattr(route, "path_format", "")
            if not hasattr(route, "right") and not hasattr(route, "methods"):
                continue
            if not path.startswith("/api/v1/") or path in allowed or path.startswith((FACTORS, "/api/v1/identities")):
                continue
            if type(route).__name__ not in ("ProtectedRoute", "AdminRoute", "RefreshRoute"):
                continue
            for method in route.methods:  # type: ignore[attr-defined]
                tried += 1
                reply = await attack.send(method, path.replace("{", "").replace("}", ""), None, token)
                if reply.status != 403 or (method != "HEAD" and reply.error["code"] != "second_factor_missing"):
                    wrong.append(f"{method} {path}: {reply.status}")
        scoreboard.count("second factor required: routes that served without", cases=tried, failures=len(wrong))
        assert wrong == []
        assert tried > 80
        # Here the installation requires it, and not the workspace alone.
        personal = (await attack.program.services.sessions.authenticate(token)).workspace_id
        left = await attack.send("POST", leaving.replace("{id}", personal), None, token)
        assert (left.status, left.error["code"]) == (403, "second_factor_missing")

        await attack.enrol(token)

        assert (await attack.send("GET", "/api/v1/flows", None, token)).status == 200
        refreshed = (await attack.send("POST", "/api/v1/auth/refresh", None, token)).json["token"]
        assert (await attack.send("GET", "/api/v1/flows", None, refreshed)).status == 200


async def test_s71_a_workspace_requires_a_second_factor_of_its_members(tmp_path: Path) -> None:
    async with attack_at(tmp_path) as attack:
        omar = await attack.new_account("omar")
        team = {"Flowrunner-Workspace": "team"}

        async def flows(token: str) -> Reply:
            return await call(attack.program.app, "GET", "/api/v1/flows", token=token, headers=team)

        made = await attack.send("POST", "/api/v1/workspaces", {"name": "Team", "slug": "team"}, attack.token)
        workspace = f"/api/v1/workspaces/{made.json['id']}"
        member = {"account": "omar@example.com", "role": "editor"}
        assert (await attack.send("POST", f"{workspace}/members", member, attack.token)).status == 201
        body = json.dumps({"name": "N", "scopes": ["read"]}).encode()
        program = (await call(attack.program.app, "POST", "/api/v1/tokens", token=omar, body=body, headers=team)).json
        assert (await flows(omar)).status == 200
        asks = {"name": "Asks", "definition": "nodes: {ask: {type: approval, params: {prompt: Is it?}}}"}
        body = json.dumps(asks).encode()
        flow = await call(attack.program.app, "POST", "/api/v1/flows", token=attack.token, body=body, headers=team)
        path = f"/api/v1/flows/{flow.json['id']}/run"
        ran = await attack.send("POST", path, {"input": {}}, attack.token)
        execution = ran.json["execution_id"]
        for _ in range(6000):
            if waiting := (await attack.send("GET", "/api/v1/approvals", None, omar)).json["approvals"]:
                break
            await asyncio.sleep(0.01)
        assert [approval["workspace_id"] for approval in waiting] == [made.json["id"]]
        feed = f"/ws/executions?workspace={made.json['id']}"
        sockets: tuple[tuple[str, dict[str, str]], ...] = (
            (feed, {}),
            ("/ws/executions", team),
            (f"/ws/executions/{execution}", {}),
        )

        async def opened() -> list[Reply]:
            return [await connect(attack.program.app, at, token=omar, headers=more) for at, more in sockets]

        assert [reply.status for reply in await opened()] == [101, 101, 101]

        changed = await attack.send("PUT", workspace, {"requires_second_factor": True}, attack.token)

        assert changed.json["requires_second_factor"] is True
        assert (await flows(omar)).error["code"] == "second_factor_missing"
        assert (await attack.send("GET", workspace, None, omar)).status == 403
        assert (await attack.send("GET", "/api/v1/flows", None, omar)).status == 200
        # What is asked of all workspaces at once is not asked of this one.
        assert (await attack.send("GET", "/api/v1/approvals", None, omar)).json["approvals"] == []
        by_id = [f"/api/v1/executions/{execution}", f"/api/v1/flows/{flow.json['id']}"]
        refused = [*await opened(), *[await attack.send("GET", at, None, omar) for at in by_id]]
        assert {(reply.status, reply.error["code"]) for reply in refused} == {(403, "second_factor_missing")}
        caller = await attack.program.services.sessions.authenticate(omar)
        assert caller.admitted_to == (personal_workspace(caller.account_id),)
        assert (await flows(program["token"])).status == 200
        assert (await flows(attack.token)).status == 200
        lena = await attack.new_account("lena")
        member = {"account": "lena@example.com", "role": "editor"}
        assert (await attack.send("POST", f"{workspace}/members", member, attack.token)).status == 201
        assert (await attack.send("GET", workspace, None, lena)).status == 403
        assert (await attack.send("POST", f"{workspace}/leave", None, lena)).status == 200
        assert (await attack.send("GET", workspace, None, lena)).status == 404
        await attack.enrol(omar)
        assert (await flows(omar)).status == 200
        assert len((await attack.send("GET", "/api/v1/approvals", None, omar)).json["approvals"]) == 1


async def test_s03_an_installation_without_passwords_accepts_none(tmp_path: Path) -> None:
    async with attack_at(tmp_path):
        pass
    async with program_at(tmp_path / "data", password_login=False) as program:
        attack = Attack(program, tmp_path / "data" / "flowrunner.db")
        bodies = set()
        for name, password in (("mara", PASSWORD), ("mara", "wrong" * 4), ("nobody", PASSWORD)):
            reply = await attack.send("POST", LOGIN, {"username": f"{name}@example.com", "password": password})
            assert reply.status == 403
            bodies.add(json.dumps({**reply.error, "request_id": ""}))
        assert len(bodies) == 1
