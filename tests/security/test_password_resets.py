"""Lost passwords, and attacks on the links that set new ones."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.bootstrap.program import Program
from flowrunner.domain.account import Account
from flowrunner.domain.values import AccountId
from flowrunner.ports.password_resets import PasswordReset
from flowrunner.services import password_resets
from flowrunner.services.password_resets import MOST_ASKED, MOST_LINKS, MOST_MAILS
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.storage.transaction import Transaction
from support.asgi import call, program_at
from support.client import PASSWORD, Reply
from support.codes import code_of
from support.databases import NOON
from support.mailbox import Mailbox, open_mailbox, text_of
from support.scoreboard import Scoreboard
from support.server import clean_environment

ASK, SET = "/api/v1/auth/password-reset", "/api/v1/auth/new-password"
NEW: Final = "nine-red-badgers-dig"
KIM: Final = "kim@example.com"
PUBLIC: Final = "https://flows.example.com"


class Accounts:
    """An installation with an admin and another account."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    async def begin(self) -> "Accounts":
        for name, role in (("root", "admin"), ("kim", "user")):
            made = await self.program.services.accounts.create(
                name=name, email=f"{name}@example.com", password=PASSWORD, role=role,  # type: ignore[arg-type]
            )  # fmt: skip
            self.ids[name] = made.id
            self.tokens[name] = (await self.log_in(f"{name}@example.com")).json["token"]
        return self

    async def log_in(self, email: str, password: str = PASSWORD) -> Reply:
        return await self.go("POST", "/api/v1/auth/login", {"username": email, "password": password})

    async def go(self, method: str, path: str, body: Any = None, *, by: str = "", **options: Any) -> Reply:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return await call(self.program.app, method, path, token=self.tokens.get(by), body=data, **options)

    async def link(self, name: str = "kim") -> str:
        reply = await self.go("POST", f"/api/v1/accounts/{self.ids[name]}/password-reset", by="root")
        assert reply.status == 200, reply
        return str(reply.json["link"].partition("#")[2])

    async def use(self, token: str, password: str = NEW, **options: Any) -> Reply:
        return await self.go("POST", SET, {"token": token, "password": password}, **options)

    async def sent(self) -> None:
        """Wait until what was asked for is stored, and send it, as the background does."""
        await self.program.services.password_resets.settle()
        await self.program.services.outgoing_mails.send_due()

    async def state(self) -> Any:
        return await self.program.database.read_long(_state)


async def _state(tx: Transaction) -> Any:
    return [
        await tx.rows("SELECT id, password_hash FROM accounts ORDER BY id"),
        await tx.rows("SELECT digest FROM password_resets ORDER BY digest"),
        await tx.rows("SELECT count(*) FROM audit WHERE action = 'password.reset'"),
    ]


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    async with program_at(tmp_path / "data") as program:
        yield await Accounts(program).begin()


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    with open_mailbox() as opened:
        yield opened


@pytest.fixture
async def mailing(tmp_path: Path, mailbox: tuple[Mailbox, int]) -> AsyncIterator[Accounts]:
    smtp_url = f"smtp://127.0.0.1:{mailbox[1]}?from=f@example.com"
    async with program_at(
        tmp_path / "data", smtp_url=smtp_url, public_url=PUBLIC, allowed_hosts=("localhost",)
    ) as program:
        yield await Accounts(program).begin()


async def test_a_new_password_ends_all_logins_and_tokens_and_other_links(accounts: Accounts) -> None:
    body = {"name": "N", "scopes": ["read"]}
    accounts.tokens["program"] = (await accounts.go("POST", "/api/v1/tokens", body, by="kim")).json["token"]
    other, token = await accounts.link(), await accounts.link()

    assert (await accounts.use(token)).status == 200

    for by in ("kim", "program"):
        assert (await accounts.go("GET", "/api/v1/flows", by=by)).status == 401
    assert (await accounts.log_in(KIM)).status == 401
    assert (await accounts.log_in(KIM, NEW)).status == 200
    assert [(await accounts.use(each)).status for each in (token, other)] == [404, 404]
    assert (await accounts.go("GET", "/api/v1/flows", by="root")).status == 200


async def test_s73_no_guess_sets_a_password_and_all_answers_are_alike(
    accounts: Accounts, scoreboard: Scoreboard
) -> None:
    token, before = await accounts.link(), await accounts.state()
    before = await accounts.state()
    guesses = [
        digest_of_token(token), token[:-1], token + "A", token.swapcase(), "", "%", "' OR 1=1 --",
        *(secrets.token_urlsafe(32) for _ in range(60)),
    ]  # fmt: skip
    answers = Counter[tuple[int, str]]()

    for guess in guesses:
        reply = await accounts.use(guess)
        answers[reply.status, reply.error["message"]] += 1

    scoreboard.count("password resets: guesses accepted", cases=len(guesses), failures=int(len(answers) > 1))
    assert [status for status, _ in answers] == [404]
    assert await accounts.state() == before


async def test_s73_a_link_sets_one_password_also_for_many_at_the_same_time(accounts: Accounts) -> None:
    token = await accounts.link()

    replies = await asyncio.gather(*(accounts.use(token, f"{NEW}-{n}") for n in range(8)))

    assert sorted(reply.status for reply in replies) == [200] + [404] * 7
    assert (await accounts.state())[2] == [(1,)]


@pytest.mark.parametrize(
    "ended",
    [
        "UPDATE password_resets SET expires_at = 1",
        "UPDATE accounts SET disabled_at = 1 WHERE email = 'kim@example.com'",
        "DELETE FROM password_resets",
    ],
)
async def test_s73_an_expired_link_or_one_of_a_disabled_account_is_unknown(accounts: Accounts, ended: str) -> None:
    token = await accounts.link()
    await accounts.program.database.write(lambda tx: tx.run(ended))
    before = await accounts.state()

    refused = await accounts.use(token)

    assert (refused.status, refused.error["message"]) == (
        404, "The link is not valid: it may have been used, replaced or revoked, or have expired",
    )  # fmt: skip
    assert await accounts.state() == before


@pytest.mark.parametrize(
    ("by", "changes"),
    [
        ("kim", [{"password": "six-grey-herons-wait", "current_password": PASSWORD}]),
        ("kim", [{"email": "kim@example.org"}]),
        ("root", [{"role": "admin"}]),
        ("root", [{"disabled": True}, {"disabled": False}]),
    ],
    ids=["password", "address", "role", "disabled and enabled"],
)
async def test_s73_a_change_of_what_an_account_logs_in_with_ends_its_links(
    accounts: Accounts, by: str, changes: list[dict[str, Any]]
) -> None:
    token, another = await accounts.link("kim"), await accounts.link("root")
    for body in changes:
        assert (await accounts.go("PUT", f"/api/v1/accounts/{accounts.ids['kim']}", body, by=by)).status == 200
    before = await accounts.state()

    assert (await accounts.use(token)).status == 404

    assert await accounts.state() == before
    assert (await accounts.use(another)).status == 200


async def test_s73_only_a_login_of_an_admin_makes_links_and_few_work_at_once(accounts: Accounts) -> None:
    path = f"/api/v1/accounts/{accounts.ids['root']}/password-reset"
    body = {"name": "N", "scopes": ["read", "write", "admin"]}
    accounts.tokens["program"] = (await accounts.go("POST", "/api/v1/tokens", body, by="root")).json["token"]
    for by, status in (("", 401), ("kim", 403), ("program", 403)):
        assert (await accounts.go("POST", path, by=by)).status == status

    tokens = [await accounts.link()]
    # Those that follow are made within one millisecond, perhaps of this one.
    await accounts.program.database.write(lambda tx: tx.run("UPDATE password_resets SET created_at = created_at - 1"))
    tokens += [await accounts.link() for _ in range(MOST_LINKS + 1)]

    assert len((await accounts.state())[1]) == MOST_LINKS
    assert (await accounts.use(tokens[0])).status == 404
    assert (await accounts.use(tokens[-1])).status == 200


async def test_s73_a_new_link_works_also_where_others_are_of_its_millisecond(accounts: Accounts) -> None:
    for _ in range(MOST_LINKS):
        await accounts.link()
    # What sorts before it takes no place from it, by chance of the digests.
    await accounts.program.database.write(
        lambda tx: tx.run("UPDATE password_resets SET created_at = created_at + 9999")
    )

    assert (await accounts.use(await accounts.link())).status == 200


async def test_s73_a_page_of_another_origin_and_other_bodies_are_refused(accounts: Accounts) -> None:
    token = await accounts.link()
    before = await accounts.state()

    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert (await accounts.use(token, headers=headers)).status == 403
    form = f"token={token}&password={NEW}".encode()
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        assert (await accounts.go("POST", SET, form, headers={"content-type": media_type})).status == 415
    for body, status in (
        ({"token": token, "password": "short"}, 422), ({"token": token, "password": "password12345"}, 422),
        ({"token": token, "password": NEW, "email": "a@b.c"}, 422), ({"token": token, "password": "x" * 40_000}, 413),
        ({"token": token}, 422), ({"token": [token], "password": NEW}, 422),
    ):  # fmt: skip
        assert (await accounts.go("POST", SET, body)).status == status
    for method in ("GET", "HEAD", "PUT"):
        assert (await accounts.go(method, f"{SET}?token={token}&password={NEW}")).status in (404, 405)

    assert await accounts.state() == before


async def test_s73_asking_for_a_link_tells_nothing_and_mails_only_an_account(
    mailing: Accounts, mailbox: tuple[Mailbox, int]
) -> None:
    answers = set()
    for email in (f" {KIM.upper()}", "nobody@example.org", "no address", "kim@example.com\r\nBcc: all@example.com"):
        reply = await mailing.go("POST", ASK, {"email": email}, headers={"x-forwarded-host": "evil.example"})
        answers.add((reply.status, reply.body))
        assert reply.headers["content-length"] == str(len(reply.body))

    await mailing.sent()

    assert len(answers) == 1
    assert next(iter(answers))[0] == 202
    ((envelope, message),) = mailbox[0].arrived
    assert (envelope.rcpt_tos, message["Subject"]) == ([KIM], "New password for FlowRunner")
    (link,) = [line for line in text_of(message).splitlines() if "://" in line]
    assert link.startswith(f"{PUBLIC}/new-password#")
    assert (await mailing.use(link.partition("#")[2])).status == 200


async def test_s72_an_account_without_a_password_gets_none_by_mail(
    mailing: Accounts, mailbox: tuple[Mailbox, int]
) -> None:
    # As an account that a provider's login has made: whoever is locked out there keeps the mailbox for a while.
    await mailing.program.database.write(
        lambda tx: tx.run("UPDATE accounts SET password_hash = '!' WHERE email = :email", {"email": KIM})
    )

    assert (await mailing.go("POST", ASK, {"email": KIM})).status == 202
    await mailing.sent()

    ((_, message),) = mailbox[0].arrived
    assert "://" not in text_of(message)
    assert "log in by your provider" in " ".join(text_of(message).split())
    assert await mailing.program.database.read(lambda tx: tx.rows("SELECT 1 FROM password_resets")) == []
    # An admin decides otherwise.
    assert (await mailing.use(await mailing.link())).status == 200


async def test_s66_a_link_neither_removes_nor_replaces_a_second_factor_and_the_owner_is_told_what_stays(
    mailing: Accounts, mailbox: tuple[Mailbox, int]
) -> None:
    factors = "/api/v1/second-factors"
    made = (await mailing.go("POST", f"{factors}/totp", {}, by="kim")).json
    code = {"code": code_of(made["secret"])}
    codes = (await mailing.go("POST", f"{factors}/{made['id']}/confirm", code, by="kim")).json["recovery_codes"]
    await link_identity(mailing.program, mailing.ids["kim"])

    assert (await mailing.use(await mailing.link())).status == 200

    login = await mailing.log_in(KIM, NEW)
    assert (login.status, login.error["code"]) == (401, "second_factor_required")
    challenge = login.error["details"]["second_factor"]["challenge"]
    answer = {"challenge": challenge, "recovery_code": codes[0]}
    mailing.tokens["kim"] = (await mailing.go("POST", "/api/v1/auth/second-factor", answer)).json["token"]
    listed = await mailing.go("GET", "/api/v1/identities", by="kim")
    assert [identity["provider"] for identity in listed.json["identities"]] == ["corp"]
    told = await mails_to(mailing, mailbox[0], KIM)
    assert {text.partition(".")[0] for text in told} == {
        "An authenticator app was added to your account as a second factor",
        "A link has set a new password of your account",
        "A recovery code of your account was used for a login",
    }
    assert "These are as before: a second factor, a linked account of 'corp'." in " ".join(told)
    assert not any(secret in text for text in told for secret in (codes[0], made["secret"], challenge, NEW))


@pytest.mark.parametrize(
    ("second_factors", "providers", "said"),
    [
        (0, [], "It logs in with nothing else."),
        (1, [], "These are as before: a second factor."),
        (2, ["corp"], "These are as before: 2 second factors, a linked account of 'corp'."),
        (0, ["corp", "a"], "These are as before: a linked account of 'corp', a linked account of 'a'."),
    ],
)
def test_an_email_about_a_new_password_names_what_else_logs_in(
    second_factors: int, providers: list[str], said: str
) -> None:
    account = Account(id=AccountId("a"), name="N", email=KIM, role="user", created_at=NOON, updated_at=NOON)

    assert password_resets._besides(PasswordReset(account, second_factors, providers)) == said


async def test_s60_an_admin_ends_the_links_to_providers_of_another_account(
    mailing: Accounts, mailbox: tuple[Mailbox, int]
) -> None:
    for name in ("kim", "root"):
        await link_identity(mailing.program, mailing.ids[name])
    path = f"/api/v1/accounts/{mailing.ids['kim']}/identities"
    for by in ("kim", "", "program"):
        assert (await mailing.go("DELETE", path, by=by)).status in (401, 403)
    assert (await mailing.go("DELETE", f"/api/v1/accounts/{mailing.ids['root']}/identities", by="root")).status == 403

    assert (await mailing.go("DELETE", path, by="root")).status == 200

    assert (await mailing.go("GET", "/api/v1/flows", by="kim")).status == 401
    left = await mailing.program.database.read(lambda tx: tx.rows("SELECT account_id FROM identities"))
    assert left == [(mailing.ids["root"],)]
    (text,) = await mails_to(mailing, mailbox[0], KIM)
    assert text.startswith("An admin has ended all links of your account to providers.")


async def test_the_address_before_is_told_of_a_new_address_and_a_new_password(
    mailing: Accounts, mailbox: tuple[Mailbox, int]
) -> None:
    path = f"/api/v1/accounts/{mailing.ids['kim']}"
    changes = {"email": "thief@example.org", "current_password": PASSWORD, "password": NEW}

    assert (await mailing.go("PUT", path, changes, by="kim")).status == 200
    assert (await mailing.go("PUT", path, {"name": "Kim"}, by="root")).status == 200

    told = await mails_to(mailing, mailbox[0], KIM)
    assert {text.partition(".")[0] for text in told} == {
        "The password of your account was changed", "The e-mail address of your account was changed",
    }  # fmt: skip
    # The new one gets a link that confirms it, and nothing else.
    (message,) = mailbox[0].to("thief@example.org")
    assert message["Subject"] == "Confirm your e-mail address for FlowRunner"


async def link_identity(program: Program, account_id: str) -> None:
    values = {"id": f"identity-{account_id}", "account_id": account_id, "issuer": "https://corp", "at": 0}
    await program.database.write(
        lambda tx: tx.run(
            "INSERT INTO identities (id, account_id, provider, issuer, subject, created_at)"
            " VALUES (:id, :account_id, 'corp', :issuer, :account_id, :at)",
            values,
        )
    )


async def mails_to(accounts: Accounts, mailbox: Mailbox, address: str) -> list[str]:
    await accounts.program.services.outgoing_mails.send_due()
    return [" ".join(text_of(message).split()) for message in mailbox.to(address)]


async def test_s73_neither_a_mailbox_nor_the_server_is_flooded(mailing: Accounts, mailbox: tuple[Mailbox, int]) -> None:
    statuses = Counter[int]()
    for _ in range(MOST_ASKED + 5):
        statuses[(await mailing.go("POST", ASK, {"email": KIM}, address="198.51.100.7")).status] += 1
    for n in range(5):
        statuses[(await mailing.go("POST", ASK, {"email": KIM}, address=f"198.51.100.{n + 20}")).status] += 1

    await mailing.sent()

    assert statuses == {202: MOST_ASKED + 5, 429: 5}
    assert len(mailbox[0].arrived) == MOST_MAILS


async def test_s73_one_address_sets_a_bounded_number_of_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_resets, "_MOST_SET", 2)
    async with program_at(tmp_path / "data") as program:
        accounts = await Accounts(program).begin()
        statuses = [
            (await accounts.use(await accounts.link(), address=address)).status
            for address in (*["127.0.0.1"] * 3, "198.51.100.9")
        ]

    assert statuses == [200, 200, 429, 200]


async def test_s73_a_server_without_mail_says_so_alike(accounts: Accounts) -> None:
    replies = [await accounts.go("POST", ASK, {"email": email}) for email in (KIM, "nobody@example.org")]

    assert [reply.status for reply in replies] == [409, 409]
    assert len({reply.error["message"] for reply in replies}) == 1
    assert (await accounts.go("GET", "/api/v1/setup")).json == {"is_set_up": True, "mails_resets": False}


async def test_s73_the_token_is_nowhere_but_in_the_link(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with program_at(tmp_path / "data", log_level="debug") as program:
        accounts = await Accounts(program).begin()
        tokens = [await accounts.link(), await accounts.link("root")]
        await accounts.use(tokens[0])
        audit = (await accounts.go("GET", "/api/v1/audit?limit=100", by="root")).body
    files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    written = "".join(capfd.readouterr())

    for token in tokens:
        assert token.encode() not in files + audit
        assert token not in written


async def test_the_operator_makes_a_link_beside_the_running_server(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        accounts = await Accounts(program).begin()
        command = [
            sys.executable,
            "-m",
            "flowrunner",
            "account",
            "reset-password",
            "--data-dir",
            str(tmp_path / "data"),
        ]

        def run(email: str, *options: str, input: str = "") -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [*command, "--public-url", PUBLIC, email, *options],
                input=input, capture_output=True, text=True, timeout=60, check=False, env=clean_environment(),
                cwd=tmp_path,
            )  # fmt: skip

        done, unknown = await asyncio.to_thread(run, "Kim@Example.com"), await asyncio.to_thread(run, "x@y.z")

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{PUBLIC}/new-password#")
        assert (unknown.returncode, unknown.stdout) == (5, "")
        assert "No account has the e-mail address 'x@y.z'" in unknown.stderr
        assert (await accounts.use(done.stdout.strip().partition("#")[2])).status == 200

        typed = "seven-blue-herons-wade"
        weak = await asyncio.to_thread(run, KIM, "--prompt", input=f"{KIM}\n")
        logged_in = await accounts.log_in(KIM, NEW)
        assert (weak.returncode, logged_in.status) == (1, 200)
        accounts.tokens["kim"] = logged_in.json["token"]
        assert (await accounts.go("GET", "/api/v1/flows", by="kim")).status == 200
        done = await asyncio.to_thread(run, KIM, "--prompt", input=f"{typed}\n")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert typed not in done.stderr
        # The server has just seen the token, and keeps what it knows of it for a while.
        for _ in range(600):
            if (old := await accounts.go("GET", "/api/v1/flows", by="kim")).status == 401:
                break
            await asyncio.sleep(0.1)
        assert old.status == 401
        assert [(await accounts.log_in(KIM, password)).status for password in (NEW, typed)] == [401, 200]
        audit = (await accounts.go("GET", "/api/v1/audit?limit=100", by="root")).json["entries"]
        assert [(e["action"], e["credential"]) for e in audit if e["action"].startswith("password.")][:2] == [
            ("password.reset", "server"), ("password.reset_created", "server"),
        ]  # fmt: skip


async def test_a_server_without_passwords_mails_no_link_to_set_one(tmp_path: Path) -> None:
    smtp_url = "smtp://127.0.0.1:9?from=f@example.com"
    async with program_at(tmp_path, password_login=False, smtp_url=smtp_url, public_url=PUBLIC) as program:
        assert not program.services.password_resets.are_mailed
