"""Invitations over the API, with a mailbox behind a real SMTP server."""

import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest

from support.client import PASSWORD, Client
from support.mailbox import Mailbox, open_mailbox, text_of
from support.server import Server

PUBLIC: Final = "https://flows.example.com"


@pytest.fixture(scope="module")
def mailbox_and_port() -> Iterator[tuple[Mailbox, int]]:
    with open_mailbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, mailbox_and_port: tuple[Mailbox, int]) -> Iterator[Client]:
    settings = {
        "SMTP_URL": f"smtp://127.0.0.1:{mailbox_and_port[1]}?from=flows@example.com",
        "PUBLIC_URL": PUBLIC,
        "ALLOWED_HOSTS": "localhost",
    }
    server = Server(tmp_path_factory.mktemp("inviting"), settings)
    try:
        yield server.start().admin()
    finally:
        server.stop()


@pytest.fixture
def mailbox(mailbox_and_port: tuple[Mailbox, int]) -> Mailbox:
    return mailbox_and_port[0]


@pytest.fixture
def team(root: Client) -> str:
    slug = f"team-{secrets.token_hex(4)}"
    return str(root.post("/api/v1/workspaces", {"name": "Team", "slug": slug}).json["id"])


def invite(client: Client, workspace: str, email: str, role: str = "operator", **fields: Any) -> Any:
    reply = client.post(f"/api/v1/workspaces/{workspace}/invitations", {"email": email, "role": role, **fields})
    assert reply.status == 201, reply
    return reply.json


def token_of(invitation: Any) -> str:
    return str(invitation["link"].partition("#")[2])


def roles_in(client: Client, workspace: str) -> dict[str, str]:
    members = client.get(f"/api/v1/workspaces/{workspace}/members", limit=100).json["members"]
    return {member["email"]: member["role"] for member in members}


def test_a_new_person_makes_an_account_with_the_link_that_was_mailed(root: Client, team: str, mailbox: Mailbox) -> None:
    email = f"kim-{secrets.token_hex(4)}@example.com"
    invitation = invite(root, team, f" {email.upper()} ")

    assert (invitation["email"], invitation["role"], invitation["mailed"]) == (email, "operator", True)
    message = mailbox.wait_for(email)
    assert message["Subject"] == "Invitation to 'Team' on FlowRunner"
    assert f"\n\n{invitation['link']}." in text_of(message)
    assert invitation["link"].startswith(f"{PUBLIC}/invitation#")
    nobody, token = Client(root.url), token_of(invitation)
    seen = nobody.post("/api/v1/invitations/lookup", {"token": token}).json
    assert {name: seen[name] for name in ("workspace", "role", "email", "sign_up")} == {
        "workspace": "Team", "role": "operator", "email": email, "sign_up": True,
    }  # fmt: skip
    made = nobody.post("/api/v1/invitations/sign-up", {"token": token, "name": "Kim", "password": PASSWORD})
    assert (made.status, made.json["email"], made.json["role"]) == (201, email, "user")
    kim = Client(root.url).login(email, PASSWORD)
    assert kim.get(f"/api/v1/workspaces/{team}").json["role"] == "operator"
    assert root.get(f"/api/v1/workspaces/{team}/invitations").json["invitations"] == []


def test_an_account_accepts_once_and_keeps_a_higher_role(root: Client, team: str) -> None:
    lee = root.new_account()
    token = token_of(invite(root, team, lee.email, "editor"))

    accepted = lee.post("/api/v1/invitations/accept", {"token": token})

    assert (accepted.status, accepted.json) == (200, {"workspace_id": team, "role": "editor"})
    assert roles_in(root, team)[lee.email] == "editor"
    assert lee.post("/api/v1/invitations/accept", {"token": token}).status == 404
    assert (
        lee.post("/api/v1/invitations/accept", {"token": token_of(invite(root, team, lee.email, "viewer"))}).status
        == 200
    )
    assert roles_in(root, team)[lee.email] == "editor"
    assert (
        lee.post("/api/v1/invitations/accept", {"token": token_of(invite(root, team, lee.email, "admin"))}).status
        == 200
    )
    assert roles_in(root, team)[lee.email] == "admin"


def test_invitations_are_listed_replaced_and_revoked(root: Client, team: str) -> None:
    address = f"/api/v1/workspaces/{team}/invitations"
    first, second = invite(root, team, "kim@example.com"), invite(root, team, "lee@example.com", expires_in="1h")
    again = invite(root, team, "kim@example.com", "viewer")

    listed = root.get(address).json

    assert [each["id"] for each in listed["invitations"]] == [second["id"], again["id"]]
    assert listed["total"] == 2
    assert {"link", "token", "digest"} & {*listed["invitations"][0]} == set()
    assert root.delete(f"{address}/{again['id']}").status == 200
    nobody = Client(root.url)
    for invitation, status in ((first, 404), (second, 200), (again, 404)):
        assert nobody.post("/api/v1/invitations/lookup", {"token": token_of(invitation)}).status == status
    assert root.delete(f"{address}/{again['id']}").status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody", "role": "viewer"}, "email"),
        ({"email": "a@b.c\r\nBcc: x@y.z", "role": "viewer"}, "email"),
        ({"email": "a@b.c", "role": "owner"}, "role"),
        ({"email": "a@b.c", "role": "viewer", "expires_in": "31d"}, "expires_in"),
        ({"email": "a@b.c", "role": "viewer", "expires_in": "1s"}, "expires_in"),
        ({"email": "a@b.c", "role": "viewer", "expires_in": "soon"}, "expires_in"),
        ({"role": "viewer"}, "email"),
        ({"email": "a@b.c", "role": "viewer", "digest": "x"}, "digest"),
    ],
)
def test_a_faulty_invitation_names_its_field(root: Client, team: str, body: Any, field: str) -> None:
    reply = root.post(f"/api/v1/workspaces/{team}/invitations", body)

    assert (reply.status, reply.error["details"]["field"]) == (422, field)


def test_an_address_without_a_mailbox_is_invited_by_the_link(root: Client, team: str) -> None:
    token = token_of(invite(root, team, "nobody@example.com"))

    assert root.post("/api/v1/invitations/lookup", {"token": token}).json["email"] == "nobody@example.com"
