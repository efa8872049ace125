"""The version and state of the installation, over REST."""

from datetime import UTC, datetime
from pathlib import Path

from api.shapes import moment
from flowrunner import __version__
from support.client import Client
from support.server import Server

SYSTEM = "/api/v1/system"


def test_everyone_learns_the_version_and_the_pause_and_admins_the_rest(admin: Client, account: Client) -> None:
    mine, of_admin = account.get(SYSTEM), admin.get(SYSTEM)

    assert (mine.status, mine.json) == (200, {"version": __version__, "paused": False})
    details = of_admin.json["details"]
    assert details.keys() == {"started_at", "database", "dispatcher", "processes", "script_workers", "streams"}
    assert moment(details["started_at"]) <= datetime.now(UTC)
    assert details["database"]["kind"] == "sqlite"
    assert details["database"]["size"] >= 4096
    assert details["dispatcher"] == {"kind": "local", "active": 0, "queued": 0, "limit": 1000}
    assert details["processes"] == 1


def test_a_token_of_an_admin_sees_the_details_with_the_scope_for_them_alone(admin: Client) -> None:
    for scopes, is_shown in ((["read"], False), (["read", "admin"], True)):
        token = admin.post("/api/v1/tokens", {"name": "N", "scopes": scopes}).json["token"]

        assert ("details" in Client(admin.url, token).get(SYSTEM).json) == is_shown


def test_a_pause_is_shown_to_everyone(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        admin = server.start().admin()
        user = admin.new_account()
        assert admin.put("/api/v1/admin/pause", {"paused": True}).status == 200

        shown = user.get(SYSTEM).json

        assert shown["paused"] is True
        moment(shown["paused_at"])
    finally:
        server.stop()
