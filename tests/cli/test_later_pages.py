"""Lists that a command reads for itself: what is on a later page counts as much as what is on the first."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from flowrunner.cli.main import main
from flowrunner.client.answers import Answer
from flowrunner.client.requests import Request
from flowrunner.client.sync_transport import SyncTransport

OTHER: Final = "x-other"
LATE: Final = "x-late"
ENTRY: Final[Mapping[str, Any]] = {
    "status": "completed", "revision": 1, "role": "admin", "message": "done", "created_at": "2026-01-01T00:00:00.000Z",
    "definition": "nodes: {a: {type: return}}", "next": [], "used_by": [], "type": "schedule", "enabled": True,
    "flow_name": "f", "node": "a", "flows": [], "prompt": "p", "since": "2026-01-01T00:00:00.000Z", "link": "/x",
}  # fmt: skip


def entry(id: str) -> Mapping[str, Any]:
    """Return a thing of any kind. One that is asked for by its name is found by it."""
    word = id.removeprefix("x-").upper()
    return {
        **ENTRY, "id": id, "name": word, "key": word, "slug": word, "email": word, "account_id": id,
        "execution_id": id, "flow_id": id,
    }  # fmt: skip


class Pages:
    """A server of which each list has two pages."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.bodies: list[bytes | None] = []

    def send(self, request: Request, **more: object) -> Answer:
        path, _, query = request.target.partition("?")
        self.sent.append((request.method, path))
        self.bodies.append(request.body)
        name = path.rpartition("/")[2]
        body: dict[str, Any] = dict(entry(LATE))
        if request.method == "GET" and name.endswith("s"):
            is_later = "cursor=later" in query
            body = {name: [entry(LATE if is_later else OTHER)], "next_cursor": None if is_later else "later"}
        return answered(body)


def answered(body: Mapping[str, Any]) -> Answer:
    headers = {"content-type": "application/json", "x-request-id": "req-1"}
    return Answer(status=200, headers=headers, body=json.dumps(body).encode())


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pages:
    pages = Pages()
    monkeypatch.setattr(SyncTransport, "send", lambda _, request, **more: pages.send(request, **more))
    for name, value in {"URL": "http://127.0.0.1:1", "TOKEN": "a-token"}.items():
        monkeypatch.setenv(f"FLOWRUNNER_{name}", value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("LATE=a-value\n")
    Path(".env").chmod(0o600)
    return pages


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["account", "get", "LATE"], ("GET", f"/api/v1/accounts/{LATE}")),
        (["account", "delete", "LATE", "-y"], ("DELETE", f"/api/v1/accounts/{LATE}")),
        (["callback", "delete", "LATE", "-y"], ("DELETE", f"/api/v1/callbacks/{LATE}")),
        (
            ["callback", "redeliver", "LATE", "x-late"],
            ("POST", f"/api/v1/callbacks/{LATE}/deliveries/{LATE}/redeliver"),
        ),
        (["token", "revoke", "LATE", "-y"], ("DELETE", f"/api/v1/tokens/{LATE}")),
        (["trigger", "pause", "LATE"], ("POST", f"/api/v1/triggers/{LATE}/pause")),
        (["trigger", "get", f"flow-{36 * '0'}/LATE"], ("GET", f"/api/v1/triggers/{LATE}")),
        (
            ["workspace", "members", "remove", "LATE", "LATE", "-y"],
            ("DELETE", f"/api/v1/workspaces/{LATE}/members/{LATE}"),
        ),
        (
            ["workspace", "invitations", "revoke", "LATE", "LATE", "-y"],
            ("DELETE", f"/api/v1/workspaces/{LATE}/invitations/{LATE}"),
        ),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_what_a_command_names_is_found_on_a_later_page(
    pages: Pages, words: Sequence[str], sent: tuple[str, str]
) -> None:
    code, output = run(*words)

    assert code == 0, output
    assert pages.sent[-1] == sent


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["flow", "list"], "LATE"),
        (["secret", "list"], "LATE"),
        (["approve"], LATE),
        (["workspace", "list"], "LATE"),
        (["workspace", "members", "list", "LATE"], "LATE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_list_is_shown_with_its_later_pages(pages: Pages, words: Sequence[str], shown: str) -> None:
    code, output = run(*words)

    assert code == 0, output
    assert shown in output


def test_a_secret_on_a_later_page_is_not_overwritten_without_a_question(pages: Pages) -> None:
    code, output = run("secret", "import", ".env")

    assert (code, "LATE" in output) == (2, True)
    assert {method for method, _ in pages.sent} == {"GET"}


@pytest.mark.parametrize("workspaces", [[], [{}], [7], [{"id": 7}]])
def test_a_list_without_a_workspace_is_an_answer_that_cannot_be_read(
    pages: Pages, workspaces: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "send", lambda request, **more: answered({"workspaces": workspaces}))
    code, output = run("secret", "list")

    assert (code, "The answer has no" in output) == (1, True)


def test_a_flow_on_a_later_page_is_pruned(pages: Pages) -> None:
    Path("flows").mkdir()
    Path("flows/OTHER.yaml").write_text("nodes: {a: {type: return}}\n")
    code, output = run("apply", "flows", "--prune", "--dry-run")

    assert code == 0, output
    assert LATE in str(pages.bodies[-1])
    assert OTHER not in str(pages.bodies[-1])
