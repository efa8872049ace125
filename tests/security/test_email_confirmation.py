"""E-mail addresses that are confirmed, and what an account gains by claiming somebody else's."""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.account import Account
from flowrunner.domain.values import AccountId
from flowrunner.services.email_confirmations import MOST_LINKS, MOST_SENT_AGAIN
from flowrunner.services.login_mails import MOST_MAILS
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.storage import mail_queue
from flowrunner.storage.accounts import SqlAccounts
from support.asgi import program_at
from support.client import PASSWORD
from support.mailbox import Mailbox, open_mailbox, text_of
from support.preloaded import run_forked
from support.server import clean_environment

from .test_password_resets import KIM, PUBLIC, Accounts

AGAIN: Final = "/api/v1/accounts/me/email-confirmation"
CONFIRM: Final = f"{AGAIN}/confirm"
VICTIM: Final = "cfo@example.org"


class Installation(Accounts):
    mailbox: Mailbox

    async def change(self, name: str, body: Any, *, by: str = "") -> Any:
        return await self.go("PUT", f"/api/v1/accounts/{self.ids[name]}", body, by=by or name)

    async def mailed(self, address: str) -> str:
        """Return the token of the newest link that was sent to an address."""
        await self.sent()
        return text_of(self.mailbox.to(address)[-1]).rpartition("#")[2].strip()

    async def is_confirmed(self, name: str) -> bool:
        reply = await self.go("GET", f"/api/v1/accounts/{self.ids[name]}", by=name)
        return bool(reply.json["email_confirmed"])

    async def confirm(self, name: str, token: Any, **options: Any) -> int:
        return (await self.go("POST", CONFIRM, {"token": token}, by=name, **options)).status


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    with open_mailbox() as (mailbox, port):
        smtp_url = f"smtp://127.0.0.1:{port}?from=f@example.com"
        async with program_at(
            tmp_path / "data", smtp_url=smtp_url, public_url=PUBLIC, allowed_hosts=("localhost",)
        ) as program:
            opened = Installation(program)
            await opened.begin()
            opened.mailbox = mailbox
            yield opened


async def test_a_new_address_is_confirmed_by_the_link_in_its_mailbox_alone_and_once(installation: Installation) -> None:
    assert await installation.is_confirmed("kim")

    assert (await installation.change("kim", {"email": "kim@new.example"})).json["email_confirmed"] is False

    token = await installation.mailed("kim@new.example")
    assert "was changed" in text_of(installation.mailbox.to(KIM)[-1])
    assert not await installation.is_confirmed("kim")
    assert [await installation.confirm("kim", token), await installation.is_confirmed("kim")] == [200, True]
    assert await installation.confirm("kim", token) == 404
    audit = (await installation.go("GET", "/api/v1/audit?action=email.confirmed", by="root")).json["entries"]
    assert [entry["object"]["id"] for entry in audit] == [installation.ids["kim"]]


async def test_s73_nothing_but_the_newest_link_in_a_login_of_its_account_confirms(installation: Installation) -> None:
    await installation.change("kim", {"email": VICTIM})
    first = await installation.mailed(VICTIM)
    assert (await installation.go("POST", AGAIN, by="kim")).status == 202
    token = await installation.mailed(VICTIM)
    plain, _, signature = token.partition(".")
    api_token = (await installation.go("POST", "/api/v1/tokens", {"name": "N", "scopes": ["read"]}, by="kim")).json[
        "token"
    ]
    installation.tokens["program"] = api_token
    foreign = await installation.change("root", {"email": "root@new.example"})
    assert foreign.status == 200
    of_root = await installation.mailed("root@new.example")

    # The person whose address was claimed opens the link in a login of their own, or in none.
    assert await installation.confirm("root", token) == 404
    assert await installation.confirm("", token) == 401
    assert await installation.confirm("program", token) == 403
    forged = [
        first, plain, f"{plain}.", f"{plain}.{signature[:-1]}", f"{plain}.{signature.swapcase()}", f".{signature}",
        of_root, digest_of_token(plain), f"{digest_of_token(plain)}.{signature}", "", "%", "x" * 200, "é",
        *(f"{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(32)}" for _ in range(20)),
    ]  # fmt: skip
    assert {await installation.confirm("kim", each) for each in forged} == {404}
    assert [await installation.confirm("kim", each) for each in ([token], None, {"a": token}, "x" * 201)] == [422] * 4
    for method in ("GET", "HEAD", "PUT"):
        assert (await installation.go(method, CONFIRM, {"token": token}, by="kim")).status in (404, 405)
    assert not await installation.is_confirmed("kim")

    # A link for an earlier address confirms no later one, nor the same address claimed again.
    for email in ("kim@new.example", VICTIM):
        await installation.change("kim", {"email": email})
    assert await installation.confirm("kim", token) == 404
    assert not await installation.is_confirmed("kim")


async def test_s73_an_account_that_claims_an_address_is_no_approver_member_or_invited_person(
    installation: Installation,
) -> None:
    workspace = (await installation.go("POST", "/api/v1/workspaces", {"name": "T", "slug": "team"}, by="root")).json[
        "id"
    ]
    members, inside = f"/api/v1/workspaces/{workspace}/members", {"flowrunner-workspace": workspace}
    kim = {"account": installation.ids["kim"], "role": "operator"}
    assert (await installation.go("POST", members, kim, by="root")).status == 201
    definition = f"nodes:\n  ask: {{type: approval, params: {{members: ['{VICTIM}', '{KIM}']}}}}\n"
    flow = await installation.go(
        "POST", "/api/v1/flows", {"name": "F", "definition": definition}, by="root", headers=inside
    )
    started = await installation.go(
        "POST", f"/api/v1/flows/{flow.json['id']}/run", {"input": {}}, by="root", headers=inside
    )
    execution = f"/api/v1/executions/{started.json['execution_id']}"
    for _ in range(6000):
        if (await installation.go("GET", execution, by="root", headers=inside)).json["status"] == "waiting":
            break
        await asyncio.sleep(0.01)
    approval = f"{execution}/approvals/ask"
    body = {"email": VICTIM, "role": "admin"}
    invitation = await installation.go("POST", f"/api/v1/workspaces/{workspace}/invitations", body, by="root")
    link = invitation.json["link"].partition("#")[2]

    async def gained() -> list[bool]:
        """Try what the address gives; return whether it did."""
        listed = (await installation.go("GET", "/api/v1/approvals", by="kim")).json["approvals"]
        answered = await installation.go("POST", approval, {"approved": True}, by="kim", headers=inside)
        accepted = await installation.go("POST", "/api/v1/invitations/accept", {"token": link}, by="kim")
        named = await installation.go("POST", members, {"account": VICTIM, "role": "admin"}, by="root")
        asked = len(installation.mailbox.to(VICTIM))
        await installation.go("POST", "/api/v1/auth/password-reset", {"email": VICTIM})
        await installation.sent()
        has_mail = len(installation.mailbox.to(VICTIM)) > asked
        return [bool(listed), answered.status == 200, accepted.status == 200, named.status != 404, has_mail]

    await installation.change("kim", {"email": VICTIM})
    await installation.sent()
    assert await gained() == [False] * 5
    refused = await installation.go("POST", approval, {"approved": True}, by="kim", headers=inside)
    assert (refused.status, "not confirmed" in refused.error["message"]) == (403, True)
    shown = (await installation.go("GET", members, by="root")).json["members"]
    assert {member["email"]: member["email_confirmed"] for member in shown} == {"root@example.com": True, VICTIM: False}

    assert (await installation.change("kim", {"email": VICTIM, "email_confirmed": True}, by="root")).status == 200
    assert await gained() == [True] * 5


async def test_the_link_of_an_invitation_confirms_the_address_if_it_was_mailed(installation: Installation) -> None:
    workspace = (await installation.go("POST", "/api/v1/workspaces", {"name": "T", "slug": "team"}, by="root")).json[
        "id"
    ]
    await installation.change("kim", {"email": VICTIM})
    await installation.sent()
    body = {"email": VICTIM, "role": "viewer"}
    shown = (await installation.go("POST", f"/api/v1/workspaces/{workspace}/invitations", body, by="root")).json["link"]
    mailed = await installation.mailed(VICTIM)
    signed_up = {}
    for email, is_mailed in (("lee@example.com", True), ("mo@example.com", False)):
        made = await installation.go(
            "POST", f"/api/v1/workspaces/{workspace}/invitations", {**body, "email": email}, by="root"
        )
        token = await installation.mailed(email) if is_mailed else made.json["link"].partition("#")[2]
        account = {"token": token, "name": "L", "password": PASSWORD}
        signed_up[is_mailed] = (await installation.go("POST", "/api/v1/invitations/sign-up", account)).json[
            "email_confirmed"
        ]

    assert mailed.startswith(shown.partition("#")[2])
    for token, status in ((shown.partition("#")[2], 403), (mailed, 200)):
        assert (
            await installation.go("POST", "/api/v1/invitations/accept", {"token": token}, by="kim")
        ).status == status
    assert await installation.is_confirmed("kim")
    assert signed_up == {True: True, False: False}
    # Only whose address is not confirmed by the invitation gets a link for that.
    await installation.sent()
    assert [len(installation.mailbox.to(each)) for each in ("lee@example.com", "mo@example.com")] == [1, 2]


async def test_s17_only_an_admin_confirms_an_address_without_its_mailbox(installation: Installation) -> None:
    await installation.change("kim", {"email": VICTIM})
    assert (await installation.change("kim", {"email_confirmed": True})).status == 403
    assert (await installation.change("kim", {"email": "kim@new.example", "email_confirmed": True})).status == 403
    assert not await installation.is_confirmed("kim")

    unnamed = await installation.change("kim", {"email_confirmed": True}, by="root")
    assert (unnamed.status, unnamed.error["details"]["errors"][0]["path"]) == (422, "email")
    assert not await installation.is_confirmed("kim")

    body: dict[str, object] = {"name": "N", "email": "n@example.com", "password": PASSWORD}
    made = await installation.go("POST", "/api/v1/accounts", body, by="root")
    body = {**body, "email": "o@example.com", "email_confirmed": True}
    known = await installation.go("POST", "/api/v1/accounts", body, by="root")
    assert [made.json["email_confirmed"], known.json["email_confirmed"]] == [False, True]
    await installation.sent()
    assert (len(installation.mailbox.to("n@example.com")), installation.mailbox.to("o@example.com")) == (1, [])


async def test_s73_an_admin_confirms_no_address_that_the_account_has_claimed_meanwhile(
    installation: Installation,
) -> None:
    await installation.change("kim", {"email": "kim@new.example"})
    read = SqlAccounts.get

    async def read_then_claimed(accounts: SqlAccounts, id: AccountId) -> Account:
        """Let the account claim an address after the server has looked at the one before."""
        account = await read(accounts, id)
        monkeypatch.setattr(SqlAccounts, "get", read)
        assert (await installation.change("kim", {"email": VICTIM})).status == 200
        return account

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(SqlAccounts, "get", read_then_claimed)
        confirmed = await installation.change("kim", {"email": "KIM@new.example", "email_confirmed": True}, by="root")

    assert (confirmed.status, await installation.is_confirmed("kim")) == (409, False)
    assert (await installation.change("kim", {"email": "kim@new.example", "email_confirmed": True}, by="root")).json[
        "email"
    ] == ("kim@new.example")


async def test_s73_nobody_is_flooded_with_links_and_a_claimed_address_is_lent_no_credit(
    installation: Installation,
) -> None:
    await installation.change("kim", {"email": VICTIM})
    statuses = [(await installation.go("POST", AGAIN, by="kim")).status for _ in range(MOST_SENT_AGAIN + 2)]
    assert statuses == [*[202] * (MOST_SENT_AGAIN - 1), 429, 429, 429]
    team = (await installation.go("POST", "/api/v1/workspaces", {"name": "T", "slug": "t-2"}, by="kim")).json["id"]
    body = {"email": "lee@example.com", "role": "viewer"}
    assert (await installation.go("POST", f"/api/v1/workspaces/{team}/invitations", body, by="kim")).status == 201

    await installation.sent()

    assert VICTIM not in text_of(installation.mailbox.to("lee@example.com")[0])
    assert (await installation.go("POST", AGAIN, by="root")).status == 409


async def test_the_operator_confirms_addresses_beside_the_running_server(
    installation: Installation, tmp_path: Path
) -> None:
    await installation.change("kim", {"email": VICTIM})
    command = ["-m", "flowrunner", "account", "mark-confirmed", "--data-dir", str(tmp_path / "data")]

    def run(*emails: str) -> "subprocess.CompletedProcess[str]":
        return run_forked([*command, *emails], cwd=tmp_path, env=clean_environment())

    no_address = run("ceo@@example.com")
    assert (no_address.returncode, "No account has the e-mail address" in no_address.stderr) == (5, True)
    unknown = run(VICTIM, "nobody@example.com")
    assert (unknown.returncode, await installation.is_confirmed("kim")) == (5, False)
    await installation.change("root", {"email": "root@new.example"})
    done = run(VICTIM.upper(), "root@new.example")
    confirmed = [await installation.is_confirmed(name) for name in ("kim", "root")]
    assert (done.returncode, confirmed) == (0, [True, True]), done.stderr


async def test_claims_of_an_address_keep_its_owner_from_no_link(installation: Installation) -> None:
    body = {"name": "N", "email": VICTIM, "password": PASSWORD}
    installation.ids["cfo"] = (await installation.go("POST", "/api/v1/accounts", body, by="root")).json["id"]
    installation.tokens["cfo"] = (await installation.log_in(VICTIM)).json["token"]

    claims = [(await installation.change("kim", {"email": VICTIM})).status for _ in range(MOST_LINKS)]
    again = [(await installation.go("POST", "/api/v1/accounts", body, by="root")).status for _ in range(MOST_LINKS)]

    assert (claims, again) == ([422] * MOST_LINKS, [409] * MOST_LINKS)
    # E-mails that wait together arrive in any order.
    await installation.sent()
    assert (await installation.go("POST", AGAIN, by="cfo")).status == 202
    assert await installation.confirm("cfo", await installation.mailed(VICTIM)) == 200


async def test_rejected_changes_use_up_no_email_about_one_that_is_made(installation: Installation) -> None:
    rejected = [
        await installation.go("DELETE", "/api/v1/second-factors/factor-none", by="kim") for _ in range(MOST_MAILS)
    ]
    await installation.change("kim", {"email": "kim@new.example"})
    await installation.sent()

    assert {reply.status for reply in rejected} == {404}
    assert "was changed" in text_of(installation.mailbox.to(KIM)[-1])


async def test_unsent_invitations_keep_away_no_email_about_the_logins_of_their_sender(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_queue, "MOST_OF_ACCOUNT", 3)
    team = (await installation.go("POST", "/api/v1/workspaces", {"name": "T", "slug": "t-3"}, by="kim")).json["id"]
    for n in range(4):
        body = {"email": f"lee-{n}@example.com", "role": "viewer"}
        assert (await installation.go("POST", f"/api/v1/workspaces/{team}/invitations", body, by="kim")).status == 201
    await installation.change("kim", {"email": "kim@new.example"})
    await installation.sent()

    assert len(installation.mailbox.arrived) == 4
    assert "was changed" in text_of(installation.mailbox.to(KIM)[-1])
