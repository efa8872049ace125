"""Attacks on invitations to workspaces: each is refused, and changes nothing."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.bootstrap.program import Program
from flowrunner.mail import SmtpMailer
from flowrunner.ports.outgoing_mails import MailFailed
from flowrunner.services import invitation_links
from flowrunner.services.invitations import MOST_OPEN, MOST_SENT
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.storage.invitations import SqlInvitations
from flowrunner.storage.transaction import Transaction
from support.asgi import call, program_at
from support.client import PASSWORD, Reply
from support.mailbox import open_mailbox, text_of
from support.scoreboard import Scoreboard

LOOKUP, ACCEPT, SIGN_UP = (f"/api/v1/invitations/{use}" for use in ("lookup", "accept", "sign-up"))
KIM: Final = "kim@example.com"


class Team:
    """A workspace of the installation's admin, and somebody who is not in it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tokens: dict[str, str] = {}
        self.id = ""

    async def begin(self) -> "Team":
        for name, role in (("root", "admin"), ("omar", "user"), ("kim", "user")):
            await self.program.services.accounts.create(
                name=name, email=f"{name}@example.com", password=PASSWORD, role=role,  # type: ignore[arg-type]
            )  # fmt: skip
            self.tokens[name] = await self.login(f"{name}@example.com")
        self.id = (await self.go("root", "POST", "/api/v1/workspaces", {"name": "Team", "slug": "team"})).json["id"]
        return self

    async def login(self, email: str) -> str:
        reply = await self.go("", "POST", "/api/v1/auth/login", {"username": email, "password": PASSWORD})
        return str(reply.json["token"])

    async def go(self, name: str, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return await call(self.program.app, method, path, token=self.tokens.get(name), body=data, **options)

    async def invite(self, email: str, role: str = "viewer", *, by: str = "root", to: str = "") -> Reply:
        body = {"email": email, "role": role}
        return await self.go(by, "POST", f"/api/v1/workspaces/{to or self.id}/invitations", body)

    async def token(self, email: str, **options: Any) -> str:
        reply = await self.invite(email, **options)
        assert reply.status == 201, reply
        return str(reply.json["link"].partition("#")[2])

    async def sign_up(self, token: str, **options: Any) -> Reply:
        return await self.go("", "POST", SIGN_UP, {"token": token, "name": "Lee", "password": PASSWORD}, **options)

    async def accept(self, name: str, token: str) -> Reply:
        return await self.go(name, "POST", ACCEPT, {"token": token})

    async def state(self) -> Any:
        """Return all that an attack could change."""
        return await self.program.database.read_long(_state)

    async def change(self, statement: str) -> None:
        await self.program.database.write(lambda tx: tx.run(statement))


async def _state(tx: Transaction) -> Any:
    return [
        sorted(await tx.rows(statement))
        for statement in (
            "SELECT id, email, role FROM accounts",
            "SELECT workspace_id, account_id, role FROM members",
            "SELECT id, email, role, digest FROM invitations",
        )
    ]


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    async with program_at(tmp_path / "data") as program:
        yield await Team(program).begin()


async def test_s73_no_guess_finds_an_invitation_and_all_answers_are_alike(team: Team, scoreboard: Scoreboard) -> None:
    token = await team.token("lee@example.com")
    before, answers = await team.state(), Counter[tuple[int, bytes]]()
    guesses = [
        digest_of_token(token), token[:-1], token + "A", token.swapcase(), token[::-1], "", "%", "*", "' OR 1=1 --",
        *(secrets.token_urlsafe(32) for _ in range(100)),
    ]  # fmt: skip

    for guess in guesses:
        for use in (team.go("", "POST", LOOKUP, {"token": guess}), team.sign_up(guess), team.accept("omar", guess)):
            reply = await use
            error = {name: value for name, value in reply.error.items() if name != "request_id"}
            answers[reply.status, json.dumps(error).encode()] += 1

    scoreboard.count("invitations: guesses accepted", cases=3 * len(guesses), failures=int(len(answers) > 1))
    assert [status for status, _ in answers] == [404]
    assert await team.state() == before


async def test_s73_a_link_is_used_once_also_by_many_at_the_same_time(team: Team) -> None:
    token = await team.token("lee@example.com")
    replies = await asyncio.gather(*(team.sign_up(token) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [201] + [404] * 7

    token = await team.token(KIM, role="editor")
    replies = await asyncio.gather(*(team.accept("kim", token) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [200] + [404] * 7

    before = await team.state()
    assert (await team.sign_up(token)).status == 404
    assert await team.state() == before


async def test_s73_nothing_happens_to_whoever_only_opens_the_link(team: Team) -> None:
    token = await team.token(KIM)
    before = await team.state()

    for method in ("GET", "HEAD"):
        page = await team.go("", method, "/invitation")
        assert page.status in (200, 404, 405)
        for path in (LOOKUP, ACCEPT, SIGN_UP):
            assert (await team.go("kim", method, f"{path}?token={token}")).status in (404, 405, 422)
    assert (await team.go("", "POST", LOOKUP, {"token": token})).status == 200

    assert (await team.go("", "GET", "/invitation")).headers["referrer-policy"] == "no-referrer"
    assert await team.state() == before


async def test_s73_an_invitation_is_for_the_account_with_its_address(team: Team) -> None:
    token = await team.token(KIM)
    before = await team.state()

    for name in ("omar", "root"):
        assert (await team.accept(name, token)).status == 403
    assert (await team.accept("", token)).status == 401
    body = {"token": token, "account_id": "x", "role": "admin", "email": "o@example.com"}
    assert (await team.go("kim", "POST", ACCEPT, body)).status == 422

    assert await team.state() == before


@pytest.mark.parametrize(
    "ended",
    [
        "DELETE FROM invitations",
        "UPDATE invitations SET expires_at = 1",
        "UPDATE members SET role = 'editor'",
        "DELETE FROM members",
        "UPDATE accounts SET disabled_at = 1 WHERE email = 'omar@example.com'",
        "UPDATE accounts SET role = 'viewer' WHERE email = 'omar@example.com'",
        "UPDATE workspaces SET deleted_at = 1 WHERE slug = 'omars'",
    ],
)
async def test_s73_a_revoked_expired_or_orphaned_link_is_unknown(team: Team, ended: str) -> None:
    omars = (await team.go("omar", "POST", "/api/v1/workspaces", {"name": "O", "slug": "omars"})).json["id"]
    token = await team.token(KIM, by="omar", to=omars)
    await team.change(ended)
    before = await team.state()

    replies = [await team.accept("kim", token), await team.sign_up(token)]
    replies.append(await team.go("", "POST", LOOKUP, {"token": token}))

    assert [reply.status for reply in replies] == [404] * 3
    assert await team.state() == before


@pytest.mark.parametrize("loss", ["role in the workspace", "membership", "account", "role in the installation"])
async def test_s73_a_link_whose_inviter_could_not_invite_for_a_while_stays_ended(team: Team, loss: str) -> None:
    omar = (await team.go("omar", "GET", "/api/v1/accounts/me")).json["id"]
    members, account = f"/api/v1/workspaces/{team.id}/members", f"/api/v1/accounts/{omar}"
    as_admin = {"role": "admin"}
    assert (await team.go("root", "POST", members, {"account": omar, **as_admin})).status == 201
    token, other = await team.token(KIM, by="omar"), await team.token("lee@example.com")

    lost, regained = {
        "role in the workspace": (
            ("PUT", f"{members}/{omar}", {"role": "editor"}),
            ("PUT", f"{members}/{omar}", as_admin),
        ),
        "membership": (("DELETE", f"{members}/{omar}", None), ("POST", members, {"account": omar, **as_admin})),
        "account": (("PUT", account, {"disabled": True}), ("PUT", account, {"disabled": False})),
        "role in the installation": (("PUT", account, {"role": "viewer"}), ("PUT", account, {"role": "user"})),
    }[loss]
    statuses = [(await team.go("root", *request)).status for request in (lost, regained)]

    assert all(status in (200, 201) for status in statuses)
    assert [(await team.go("", "POST", LOOKUP, {"token": link})).status for link in (token, other)] == [404, 200]
    assert (await team.accept("kim", token)).status == 404


async def test_s73_the_invitations_of_a_deleted_account_leave_room_for_others(team: Team) -> None:
    omar = (await team.go("omar", "GET", "/api/v1/accounts/me")).json["id"]
    body = {"account": omar, "role": "admin"}
    assert (await team.go("root", "POST", f"/api/v1/workspaces/{team.id}/members", body)).status == 201
    token, other = await team.token(KIM, by="omar"), await team.token("lee@example.com")

    assert (await team.go("root", "DELETE", f"/api/v1/accounts/{omar}")).status == 200

    listed = (await team.go("root", "GET", f"/api/v1/workspaces/{team.id}/invitations")).json
    assert [each["email"] for each in listed["invitations"]] == ["lee@example.com"]
    assert [(await team.go("", "POST", LOOKUP, {"token": link})).status for link in (token, other)] == [404, 200]


async def test_s73_an_invitation_that_is_saved_after_the_loss_of_the_role_is_none(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    omar = (await team.go("omar", "GET", "/api/v1/accounts/me")).json["id"]
    members = f"/api/v1/workspaces/{team.id}/members"
    assert (await team.go("root", "POST", members, {"account": omar, "role": "admin"})).status == 201
    save = SqlInvitations.save

    async def save_later(store: SqlInvitations, *args: Any, **options: Any) -> None:
        assert (await team.go("root", "PUT", f"{members}/{omar}", {"role": "viewer"})).status == 200
        await save(store, *args, **options)

    monkeypatch.setattr(SqlInvitations, "save", save_later)
    reply = await team.invite(KIM, by="omar")

    assert reply.status == 403
    assert (await team.go("root", "GET", f"/api/v1/workspaces/{team.id}/invitations")).json["total"] == 0


async def test_s73_inviting_tells_nothing_about_who_has_an_account(team: Team) -> None:
    replies = {name: await team.invite(f"{name}@example.com") for name in ("kim", "new")}

    known, unknown = ({name: type(value) for name, value in reply.json.items()} for reply in replies.values())
    assert known == unknown
    assert len({len(reply.body) for reply in replies.values()}) == 1
    tokens = [str(reply.json["link"].partition("#")[2]) for reply in replies.values()]
    seen = [(await team.go("", "POST", LOOKUP, {"token": token})).json for token in tokens]
    assert len({json.dumps({**each, "email": "", "expires_at": ""}) for each in seen}) == 1
    # Whoever invites has the link: an account that is there, and one that may not be made, are answered alike.
    taken = await team.sign_up(tokens[0])
    other = await team.sign_up(await team.token("new@example.com", by="omar", to=team.tokens and await omars(team)))
    assert (
        (taken.status, taken.error["message"])
        == (other.status, other.error["message"])
        == (403, taken.error["message"])
    )


async def omars(team: Team) -> str:
    return str((await team.go("omar", "POST", "/api/v1/workspaces", {"name": "O", "slug": "omars"})).json["id"])


@pytest.mark.parametrize(
    ("sign_up", "of_admin", "of_user"), [("no", 403, 403), ("admins", 201, 403), ("invited", 201, 403)]
)
async def test_s73_only_invitations_that_may_create_accounts(
    tmp_path: Path, sign_up: str, of_admin: int, of_user: int
) -> None:
    async with program_at(tmp_path / "data", sign_up=sign_up) as program:
        team = await Team(program).begin()
        first, second = (
            await team.token("lee@example.com"),
            await team.token("new@example.com", by="omar", to=await omars(team)),
        )

        assert (await team.sign_up(first)).status == of_admin
        assert (await team.sign_up(second)).status == of_user


async def test_s73_the_link_in_the_e_mail_alone_creates_an_account_if_no_admin_invites(tmp_path: Path) -> None:
    with open_mailbox() as (mailbox, port):
        settings = {
            "sign_up": "invited", "smtp_url": f"smtp://127.0.0.1:{port}?from=f@example.com",
            "public_url": "https://flows.example.com", "allowed_hosts": ("localhost",),
        }  # fmt: skip
        async with program_at(tmp_path / "data", **settings) as program:
            team = await Team(program).begin()
            own = await omars(team)
            # Omar has an account, Lee has none, and both are invited by somebody who is no admin of the installation.
            given = {
                email: await team.token(email, by="omar", to=own)
                for email in (KIM, "lee@example.com", "mo@example.com")
            }
            await program.services.outgoing_mails.send_due()
            mailed = {
                email: text_of(message).rpartition("#")[2].strip() for email in given for message in mailbox.to(email)
            }
            before = await team.state()
            seen, answers = set(), set()
            for email, token in given.items():
                assert mailed[email].startswith(f"{token}.")
                signature = mailed[email].partition(".")[2]
                of_another = mailed["mo@example.com" if email == KIM else KIM].partition(".")[2]
                for forged in (
                    token, f"{token}.", f"{token}.{signature[:-1]}", f"{token}.{signature}x",
                    f"{token}.{signature.swapcase()}",
                    f"{token}.{of_another}", f"{token}.{digest_of_token(token)}", f"{token}..{signature}", f"{token}.é",
                ):  # fmt: skip
                    refused = await team.sign_up(forged)
                    answers.add((refused.status, json.dumps({**refused.error, "request_id": ""})))
                    found = (await team.go("", "POST", LOOKUP, {"token": forged})).json
                    seen.add(json.dumps({**found, "email": "", "expires_at": ""}))
            assert len(answers) == 1
            assert next(iter(answers))[0] == 403
            assert len(seen) == 1
            assert await team.state() == before

            assert (await team.go("", "POST", LOOKUP, {"token": mailed["lee@example.com"]})).json["sign_up"] is True
            assert (await team.sign_up(mailed["lee@example.com"])).status == 201
            assert [(await team.sign_up(each)).status for each in (mailed[KIM], mailed["lee@example.com"])] == [
                403,
                404,
            ]
            assert (await team.accept("kim", mailed[KIM])).status == 200


async def test_s73_no_invitation_creates_an_account_where_no_passwords_are_accepted(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        team = await Team(program).begin()
        token = await team.token("lee@example.com")
        of_kim = await team.token(KIM)
    async with program_at(tmp_path / "data", sign_up="invited", password_login=False) as program:
        team.program = program
        before = await team.state()
        for link in (token, "unknown"):
            refused = await team.sign_up(link)
            assert (refused.status, refused.error["code"]) == (403, "password_login_disabled")
            assert refused.error["message"] == "This installation accepts no passwords: log in with single sign-on"
        assert (await team.go("", "POST", LOOKUP, {"token": token})).json["sign_up"] is False
        assert await team.state() == before
        # Who has an account accepts as ever.
        assert (await team.accept("kim", of_kim)).status == 200


async def test_s73_no_token_for_programs_and_no_lower_role_invites(team: Team) -> None:
    body = {"name": "N", "scopes": ["read", "run", "write", "members", "admin"]}
    team.tokens["program"] = (await team.go("root", "POST", "/api/v1/tokens", body)).json["token"]
    root = (await team.program.services.sessions.authenticate(team.tokens["root"])).account_id
    before = await team.state()

    assert (await team.invite("new@example.com", by="program", to=root)).status == 403
    assert (await team.invite("new@example.com", by="omar")).status == 404
    assert await team.state() == before
    for role in ("viewer", "operator", "editor"):
        assert (await team.accept("kim", await team.token(KIM, role=role))).status == 200
        assert (await team.invite("new@example.com", by="kim")).status == 403
        assert (await team.go("kim", "GET", f"/api/v1/workspaces/{team.id}/invitations")).status == 403


async def test_s73_an_admin_of_another_workspace_neither_sees_nor_revokes(team: Team) -> None:
    other = await omars(team)
    (await team.token(KIM))
    (invitation,) = (await team.go("root", "GET", f"/api/v1/workspaces/{team.id}/invitations")).json["invitations"]
    before = await team.state()

    for workspace in (other, team.id):
        path = f"/api/v1/workspaces/{workspace}/invitations/{invitation['id']}"
        assert (await team.go("omar", "DELETE", path)).status == 404
    assert (await team.go("omar", "GET", f"/api/v1/workspaces/{other}/invitations")).json["invitations"] == []
    assert await team.state() == before


async def test_s73_a_page_of_another_origin_and_other_bodies_are_refused(team: Team) -> None:
    token = await team.token("lee@example.com")
    body, before = {"token": token, "name": "Lee", "password": PASSWORD}, await team.state()
    form = f"token={token}&name=Lee&password={PASSWORD}".encode()

    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert (await team.go("", "POST", SIGN_UP, body, headers=headers)).status == 403
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = await team.go("", "POST", SIGN_UP, form, headers={"content-type": media_type})
        assert reply.status == 415
    assert (await team.go("", "POST", SIGN_UP, {**body, "name": "L" * 40_000})).status == 413
    assert (await team.go("", "POST", SIGN_UP, {**body, "role": "admin"})).status == 422
    assert (await team.go("", "POST", SIGN_UP, {**body, "password": "short"})).status == 422
    cookie = {"cookie": f"flowrunner_session={team.tokens['kim']}"}
    assert (await team.go("", "POST", ACCEPT, {"token": token}, headers=cookie)).status == 403

    assert await team.state() == before


async def test_s73_invitations_are_bounded(team: Team) -> None:
    replies = Counter[int]()
    for n in range(MOST_SENT + 5):
        replies[(await team.invite(f"a{n}@example.com")).status] += 1
    assert replies == {201: MOST_SENT, 429: 5}

    values = "SELECT 'i' || n, '{}', 'b' || n, 'viewer', 'd' || n, a.id, 0, 99999999999999 FROM numbers, accounts a"
    await team.change(
        f"INSERT INTO invitations WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
        f" WHERE n < {MOST_OPEN}) {values.format(await omars(team))} WHERE a.email = 'omar@example.com'"
    )
    full = await team.invite(
        "new@example.com", by="omar", to=str((await team.go("omar", "GET", "/api/v1/workspaces/omars")).json["id"])
    )
    assert (full.status, full.error["details"]) == (409, {"limit": "invitations", "most": MOST_OPEN})
    # One that has expired is not open, although it was not purged yet.
    await team.change("UPDATE invitations SET expires_at = 1 WHERE id = 'i1'")
    omars_id = str((await team.go("omar", "GET", "/api/v1/workspaces/omars")).json["id"])
    assert (await team.invite("new@example.com", by="omar", to=omars_id)).status == 201


@pytest.mark.parametrize("addresses", [["127.0.0.1"] * 3, ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"]])
async def test_s73_one_address_makes_a_bounded_number_of_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    monkeypatch.setattr(invitation_links, "MOST_SIGN_UPS", 2)
    async with program_at(tmp_path / "data", sign_up="admins") as program:
        team = await Team(program).begin()
        tokens = [await team.token(f"new{n}@example.com") for n in range(3)]

        replies = [await team.sign_up(token, address=at) for token, at in zip(tokens, addresses, strict=True)]
        assert [reply.status for reply in replies] == [201, 201, 429]
        assert (await team.sign_up(tokens[2], address="198.51.100.9")).status == 201


async def test_s73_the_token_is_nowhere_but_in_the_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with program_at(tmp_path / "data", log_level="debug") as program:
        team = await Team(program).begin()
        tokens = [await team.token("lee@example.com"), await team.token(KIM)]
        await team.sign_up(tokens[0])
        await team.accept("omar", tokens[1])
        audit = (await team.go("root", "GET", "/api/v1/audit?limit=100")).body
    files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    written = "".join(capfd.readouterr())

    for token in tokens:
        assert token.encode() not in files + audit
        assert token not in written


@pytest.mark.parametrize(
    "name",
    [
        "Eve\r\nBcc: all@example.com",
        "Eve\nSubject: Free",
        "Eve\u2028Bcc: x@y.z",
        "=?utf-8?q?Bcc=3A?=",
        "<b>Eve</b>",
        "E" * 200,
    ],
)
async def test_s73_no_name_adds_a_header_or_a_recipient(tmp_path: Path, name: str) -> None:
    with open_mailbox() as (mailbox, port):
        settings = {
            "smtp_url": f"smtp://127.0.0.1:{port}?from=f@example.com",
            "public_url": "https://flows.example.com",
        }
        async with program_at(tmp_path / "data", allowed_hosts=("localhost",), **settings) as program:
            team = await Team(program).begin()
            await team.change("UPDATE accounts SET name = 'x'")
            me = (await team.program.services.sessions.authenticate(team.tokens["root"])).account_id
            assert (await team.go("root", "PUT", f"/api/v1/accounts/{me}", {"name": name})).status == 200
            for email in ("lee@example.com", "a,b@example.com", '"x"@example.com', "<lee@example.org"):
                assert (await team.invite(email, to=me)).status == 201
            await program.services.outgoing_mails.send_due()

    # The others are no plain addresses.
    assert [envelope.rcpt_tos for envelope, _ in mailbox.arrived] == [["lee@example.com"]]
    for _, message in mailbox.arrived:
        assert isinstance(message, EmailMessage)
        assert {*map(str.lower, message.keys())} <= {
            "from", "to", "subject", "date", "message-id", "auto-submitted", "content-type", "mime-version",
            "content-transfer-encoding", "x-peer", "x-mailfrom", "x-rcptto",
        }  # fmt: skip
        assert len(message["To"].addresses) == 1
        (line,) = [line for line in text_of(message).splitlines() if "https://" in line]
        assert line.startswith("https://flows.example.com/invitation#")


async def test_s73_a_line_break_in_a_header_is_sent_nowhere() -> None:
    with open_mailbox() as (mailbox, port):
        mailer = SmtpMailer.of(f"smtp://127.0.0.1:{port}")
        for to, subject in (
            ("a@b.c\r\nBcc: x@y.z", "s"),
            ("a@b.c", "s\r\nBcc: x@y.z"),
            ("a@b.c\nx", "s"),
            ("a@b.c", "s\n\nx"),
        ):
            with pytest.raises(MailFailed, match=r"^email\.(invalid|recipient)$"):
                await mailer.send([to], subject, "t", message_id="m")
        assert mailbox.arrived == []
