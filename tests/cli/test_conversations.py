"""Commands in this process, with a server of given answers: what each asks for, what it sends, and what it prints."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import pytest
from click import Argument, Context, UsageError
from click.testing import CliRunner

from flowrunner.cli import completion
from flowrunner.cli.completion import complete_flows
from flowrunner.cli.main import main
from flowrunner.client.answers import Answer
from flowrunner.client.requests import Request
from flowrunner.client.sync_transport import SyncTransport

ID: Final = "exec-01mb8hy0g5h2xn12mr48nyth80ma2h3ts644"
OTHER: Final = "exec-01mb8hy0g5h2xn12mr48nyth80ma2h3ts645"
OK: Final = {"message": "Done"}


class Server:
    """Answers by method and address, and what was sent beside `GET`."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.sent: list[tuple[str, Any, Mapping[str, str]]] = []
        self.asked: list[str] = []

    def send(self, request: Request, **_: object) -> Answer:
        asked = f"{request.method} {unquote(request.target).removeprefix('/api/v1')}"
        self.asked.append(asked)
        if request.method != "GET":
            named = {name.lower(): value for name, value in dict(request.headers).items()}
            self.sent.append((asked, json.loads(request.body) if request.body else None, named))
        headers: dict[str, str] = {
            "content-type": "application/json",
            "x-request-id": "req-1",
            "etag": f'"{len(self.asked)}"',
        }
        address, _mark, query = asked.partition("?")
        # An answer is for all queries that have these parameters.
        fits: dict[str, set[str]] = {
            key: set(filter(None, key.partition("?")[2].split("&")))
            for key in self.answers
            if key.split("?")[0] == address
        }
        known = [key for key, needed in fits.items() if needed <= set(query.split("&"))]
        found = self.answers[max(known, key=lambda key: len(fits[key]))] if known else None
        assert found is not None, f"nobody answers {asked}"
        return Answer(status=200, headers=headers, body=json.dumps(found).encode())


@pytest.fixture(autouse=True)
def _user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"URL": "http://127.0.0.1:1", "TOKEN": "a-token"}.items():
        monkeypatch.setenv(f"FLOWRUNNER_{name}", value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def say(
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    answers: Mapping[str, Any],
    *,
    code: int = 0,
    input: str = "",
) -> tuple[Server, str, str]:
    """Give a command; return the server, and both outputs."""
    server = Server(answers)
    monkeypatch.setattr(SyncTransport, "send", lambda _, request, **more: server.send(request, **more))
    done = CliRunner().invoke(main, list(arguments), input=input)
    assert done.exit_code == code, (done.output, done.exception)
    return server, done.stdout, done.stderr


def listed(name: str, *entries: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: list(entries), "total": len(entries), "limit": 1000, "offset": 0}


def flow(id: str, name: str) -> Mapping[str, Any]:
    return {"id": id, "name": name}


def value(name: str, given: Any, *users: str) -> Mapping[str, Any]:
    return {
        "name": name,
        "value": given,
        "updated_at": "2026-01-01T00:00:00.000Z",
        "used_by": [flow("f", u) for u in users],
    }


def test_values_of_a_file_are_set_if_they_differ_and_nobody_has_changed_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("v.yaml").write_text("A: 1\nB: 3\nC: [x]\nD: true\n")
    answers = {
        "GET /config": listed("config", value("A", 1), value("B", 2), value("D", 1), value("E", 5)),
        **{f"GET /config/{name}": value(name, 2) for name in "BD"},
        **{f"PUT /config/{name}": value(name, 3) for name in "BCD"},
    }

    server, out, err = say(monkeypatch, ["value", "import", "v.yaml", "-y"], answers)

    assert [(asked, body) for asked, body, _ in server.sent] == [
        ("PUT /config/B", {"value": 3}), ("PUT /config/C", {"value": ["x"]}), ("PUT /config/D", {"value": True}),
    ]  # fmt: skip
    conditions = [
        {name: sent[name] for name in ("if-match", "if-none-match") if name in sent} for *_, sent in server.sent
    ]
    assert conditions == [{"if-match": '"2"'}, {"if-none-match": "*"}, {"if-match": '"3"'}]
    rows = [line.split() for line in out.splitlines()]
    assert rows == [["NAME", "ACTION"], ["A", "unchanged"], ["B", "replaced"], ["C", "created"], ["D", "replaced"]]
    assert err == ""


def test_values_are_listed_with_the_flows_that_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = say(monkeypatch, ["value", "list"], {"GET /config": listed("config", value("A", [1], "f1", "f2"))})
    _, names, _ = say(monkeypatch, ["value", "list", "-o", "name"], {"GET /config": listed("config", value("A", 1))})
    _, none, said = say(monkeypatch, ["value", "list"], {"GET /config": listed("config")})

    assert out.splitlines()[0].split() == ["NAME", "VALUE", "UPDATED", "USED", "BY"]
    assert out.splitlines()[1].startswith("A     [1]")
    assert out.endswith("f1, f2\n")
    assert (names, none) == ("A\n", "")
    assert said == "There are no configuration values yet: 'flowrunner value set NAME VALUE' creates one\n"


@pytest.mark.parametrize(("given", "sent"), [("-5", -5), ("7", 7), ('"7"', "7"), ("a b", "a b"), ("[1]", [1])])
def test_a_value_is_json_if_it_can_be(monkeypatch: pytest.MonkeyPatch, given: str, sent: Any) -> None:
    server, out, _ = say(monkeypatch, ["value", "set", "N", given, "-o", "name"], {"PUT /config/N": value("N", sent)})
    stored, _, _ = say(
        monkeypatch, ["store", "set", "k", given, "--ttl", "1h", "--namespace", "n"],
        {"PUT /store/entry?key=k&namespace=n": {"key": "k"}},
    )  # fmt: skip

    assert (server.sent[0][1], out) == ({"value": sent}, "N\n")
    assert stored.sent[0][1] == {"value": sent, "ttl": "1h"}


def test_an_entry_of_the_store_is_deleted_in_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"DELETE /store/entry?key=k&namespace=n": OK}

    server, out, err = say(monkeypatch, ["store", "delete", "k", "--namespace", "n", "-y"], answers)

    assert ([asked for asked, *_ in server.sent], out, err) == (list(answers), "", "Done\n")


@pytest.mark.parametrize(
    ("others", "warns"),
    [
        ([("t1", "deploy")], False),
        ([("t1", "deploy"), ("t2", "other")], False),
        ([("t1", "deploy"), ("t2", "deploy")], True),
    ],
)
def test_another_token_of_the_same_name_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, others: list[tuple[str, str]], warns: bool
) -> None:
    created = {"id": "t1", "name": "deploy", "token": "frt_secret", "scopes": ["read"]}
    answers = {"POST /tokens": created, "GET /tokens": listed("tokens", *(flow(id, name) for id, name in others))}

    server, out, err = say(monkeypatch, ["token", "create", "deploy", "--scope", "read", "--scope", "run"], answers)

    assert server.sent[0][1] == {"name": "deploy", "scopes": ["read", "run"]}
    assert "idempotency-key" in server.sent[0][2]
    assert "frt_secret" in out
    assert ("there is another token called 'deploy'" in err) is warns


def test_a_token_is_revoked_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"GET /tokens": listed("tokens", flow("t1", "a"), flow("t2", "deploy")), "DELETE /tokens/t2": OK}

    server, _, err = say(monkeypatch, ["token", "revoke", "deploy", "-y"], answers)
    asked, _, question = say(monkeypatch, ["token", "revoke", "deploy"], answers, code=2)

    assert ([asked for asked, *_ in server.sent], err) == (["DELETE /tokens/t2"], "Done\n")
    assert asked.sent == []
    assert "Revoke the token 'deploy' (t2)?" in question


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        ([{"type": "signal", "key": "paid"}], "Done\n"),
        (
            [{"type": "approval", "key": "paid"}],
            "Done\nNo step waits for 'paid' now, so it is kept for the next one that does\n",
        ),
        (
            [{"type": "signal", "key": "a"}, {"type": "signal", "key": "b"}],
            "Done\nNo step waits for 'paid' now, so it is kept for the next one that does; steps wait for 'a', 'b'\n",
        ),
    ],
)
def test_a_signal_that_nothing_waits_for_is_kept(
    monkeypatch: pytest.MonkeyPatch, waits: list[Mapping[str, str]], said: str
) -> None:
    answers = {f"GET /executions/{ID}": {"id": ID, "waiting_for": waits}, f"POST /executions/{ID}/signals/paid": OK}

    server, _, err = say(monkeypatch, ["signal", ID, "paid", "--payload", '{"n": 1}'], answers)

    assert ([(asked, body) for asked, body, _ in server.sent], err) == (
        [(f"POST /executions/{ID}/signals/paid", {"payload": {"n": 1}})], said)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "code", "body"),
    [
        ([ID, "ask"], 0, {"approved": True}),
        ([ID, "ask", "--reject"], 0, {"approved": False}),
        ([ID, "ask", "--data", "null"], 0, {"approved": True, "data": None}),
        ([ID], 2, None), (["--reject"], 2, None), (["--data", "1"], 2, None),
    ],
)  # fmt: skip
def test_an_approval_is_answered_or_all_are_listed(
    monkeypatch: pytest.MonkeyPatch, given: list[str], code: int, body: Any
) -> None:
    server, *_ = say(monkeypatch, ["approve", *given], {f"POST /executions/{ID}/approvals/ask": OK}, code=code)

    assert [sent for _, sent, _ in server.sent] == ([] if body is None else [body])


def test_approvals_that_wait_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    approval = {
        "execution_id": ID,
        "node": "ask",
        "prompt": "Go?",
        "flow_name": "orders",
        "since": "2026-01-01T00:00:00Z",
    }

    _, out, _ = say(monkeypatch, ["approve"], {"GET /approvals": listed("approvals", approval)})
    _, none, said = say(monkeypatch, ["approve"], {"GET /approvals": listed("approvals")})

    assert out.splitlines()[0].split() == ["EXECUTION", "ID", "NODE", "PROMPT", "FLOW", "SINCE", "UNTIL"]
    assert out.splitlines()[1].split()[:4] == [ID, "ask", "Go?", "orders"]
    assert (none, said) == ("", "Nothing waits for your approval\n")


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ([], {"role": "user", "email_confirmed": False}),
        (["--role", "admin", "--email-confirmed"], {"role": "admin", "email_confirmed": True}),
    ],
)
def test_an_account_is_created_with_a_password_of_the_input(
    monkeypatch: pytest.MonkeyPatch, given: list[str], body: Mapping[str, Any]
) -> None:
    server, out, _ = say(
        monkeypatch, ["account", "create", "ada@example.com", "--name", "Ada", *given, "-o", "name"],
        {"POST /accounts": {"id": "acc-1"}}, input="correct horse\n",
    )  # fmt: skip

    ((_, sent, headers),) = server.sent
    assert sent == {"email": "ada@example.com", "name": "Ada", "password": "correct horse", **body}
    assert ("idempotency-key" in headers, out) == (True, "acc-1\n")


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ([], ""), (["--delete-workspace"], "?workspace=delete"), (["--keep-workspace"], "?workspace=keep"),
        (["--workspace-to", "omar@example.com"], "?workspace=give&to=acc-2"),
    ],
)  # fmt: skip
def test_an_account_is_deleted_with_its_workspace_as_was_said(
    monkeypatch: pytest.MonkeyPatch, given: list[str], query: str
) -> None:
    accounts = [{"id": f"acc-{n}", "email": f"{name}@example.com"} for n, name in ((1, "ada"), (2, "omar"))]
    answers = {"GET /accounts": listed("accounts", *accounts), f"DELETE /accounts/acc-1{query}": OK}

    server, _, err = say(monkeypatch, ["account", "delete", "ada@example.com", "-y", *given], answers)
    both = ["--keep-workspace", "--delete-workspace"]
    refused, *_ = say(monkeypatch, ["account", "delete", "ada@example.com", "-y", *both], answers, code=2)

    assert ([asked for asked, *_ in server.sent], err) == ([f"DELETE /accounts/acc-1{query}"], "Done\n")
    assert refused.sent == []


def test_a_password_is_changed_by_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    server, _, err = say(monkeypatch, ["account", "password"], {"PUT /accounts/me": OK}, input="old one\nnew one\n")

    assert server.sent[0][1] == {"current_password": "old one", "password": "new one"}
    assert err == "Password changed; log in again\n"


@pytest.mark.parametrize("group", [["cancel"], ["executions", "cancel"]])
@pytest.mark.parametrize(("given", "query"), [([], ""), (["--force"], "?force=true")])
def test_executions_are_cancelled_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, group: list[str], given: list[str], query: str
) -> None:
    answers = {f"DELETE /executions/{id}{query}": OK for id in (ID, OTHER)}

    server, _, err = say(monkeypatch, [*group, ID, OTHER, "-y", *given], answers)

    assert ([asked for asked, *_ in server.sent], err) == (list(answers), "Done\nDone\n")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (["-y"], [(f"DELETE /executions/{ID}", None)]),
        (["--dry-run"], [("POST /executions:batch?dry_run=true", {"action": "cancel", "ids": [ID]})]),
    ],
)
def test_an_execution_that_is_named_twice_is_changed_once(
    monkeypatch: pytest.MonkeyPatch, given: list[str], asked: list[tuple[str, Any]]
) -> None:
    status = {"id": ID, "status": "running"}
    answers = {
        f"DELETE /executions/{ID}": OK, f"GET /executions/{ID}": status,
        "POST /executions:batch?dry_run=true": {"total": 1, "executions": [status]},
    }  # fmt: skip

    server, *_ = say(monkeypatch, ["cancel", ID, ID, *given], answers)

    assert [(one, body) for one, body, _ in server.sent] == asked


@pytest.mark.parametrize(
    ("action", "status", "code", "said"),
    [
        ("cancel", "running", 0, "Dry run: 1 execution would be cancelled. Nothing was changed\n"),
        ("cancel", "completed", 6, f"flowrunner: {ID} has already ended: it is completed\n"),
        ("executions delete", "completed", 0, "Dry run: 1 execution would be deleted. Nothing was changed\n"),
        ("executions delete", "waiting", 6, f"flowrunner: {ID} has not ended: cancel it first\n"),
    ],
)
def test_a_dry_run_refuses_what_the_change_would_refuse(
    monkeypatch: pytest.MonkeyPatch, action: str, status: str, code: int, said: str
) -> None:
    plan = {"total": 1, "executions": [{"id": ID, "status": status}]}
    answers = {f"GET /executions/{ID}": {"id": ID, "status": status}, "POST /executions:batch?dry_run=true": plan}

    server, _, err = say(monkeypatch, [*action.split(), ID, "--dry-run"], answers, code=code)

    assert err == said
    word = action.rpartition(" ")[2]
    assert [body for _, body, _ in server.sent] == ([{"action": word, "ids": [ID]}] if code == 0 else [])


def job(**changed: Any) -> Mapping[str, Any]:
    return {"id": "job-1", "type": "executions.cancel", "status": "completed", "total": 3, "done": 3, "failed": 0,
            "errors": [], **changed}  # fmt: skip


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        (job(), 0, ""),
        (job(done=1, failed=2, errors=[{"item": ID, "message": "No"}]), 1, f"{ID}: No\n… and 1 more\n"),
        (job(status="failed", errors=[{"message": "No role"}]), 1, "No role\n"),
        (job(status="cancelled"), 9, "flowrunner: the job was stopped\n"),
    ],
)
def test_a_selection_is_changed_by_a_job_whose_end_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, ended: Mapping[str, Any], code: int, said: str
) -> None:
    answers = {
        "POST /executions:batch?dry_run=true": {"total": 3, "executions": [{"id": ID}]},
        "POST /executions:batch": ended,
    }

    server, out, err = say(monkeypatch, ["cancel", "--status", "waiting", "-y", "-o", "json"], answers, code=code)

    wanted = {"action": "cancel", "filter": {"status": "waiting"}}
    assert [body for _, body, _ in server.sent] == [wanted, wanted]
    assert "idempotency-key" in server.sent[1][2]
    assert (json.loads(out), err) == (ended, said)


def test_a_selection_of_nothing_starts_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"POST /executions:batch?dry_run=true": {"total": 0, "executions": []}}

    server, out, err = say(monkeypatch, ["executions", "delete", "--status", "failed", "-y"], answers)

    assert (len(server.sent), out, err) == (1, "", "There is nothing to do: no execution is selected\n")


@pytest.mark.parametrize(
    ("given", "asked", "body"),
    [
        (["GET", "/flows", "-p", "tag=a=b", "-p", "tag=c"], "GET /flows?tag=a=b&tag=c", None),
        (["post", "/flows/validate", "-i", '{"definition": "x"}'], "POST /flows/validate", {"definition": "x"}),
    ],
)
def test_a_request_is_sent_as_it_is_given(
    monkeypatch: pytest.MonkeyPatch, given: list[str], asked: str, body: Any
) -> None:
    server, out, _ = say(monkeypatch, ["api", *given, "-H", "Prefer: wait=5"], {asked: {"a": {"b": [1, "ü"]}}})

    assert server.asked == [asked]
    assert [sent for _, sent, _ in server.sent] == ([] if body is None else [body])
    assert json.loads(out) == {"a": {"b": [1, "ü"]}}
    assert body is None or server.sent[0][2]["prefer"] == "wait=5"


@pytest.mark.parametrize("given", [["-p", "tag"], ["-p", "=x"], ["-H", "Prefer"], ["-H", ": x"]])
def test_a_parameter_without_a_name_or_a_value_is_not_sent(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    server, _, err = say(monkeypatch, ["api", "GET", "/flows", *given], {}, code=2)

    assert server.asked == []
    assert "takes a name and a value" in err


def test_an_unknown_flow_is_compared_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = listed("flows", flow("flow-1", "Order-Sync"), flow("flow-2", "invoices"))
    answers = {"GET /flows": flows, "GET /flows?name=order-snyc": listed("flows")}

    _, _, near = say(monkeypatch, ["flow", "get", "order-snyc"], answers, code=5)
    _, _, far = say(monkeypatch, ["flow", "get", "zzz"], {"GET /flows": listed("flows")}, code=5)

    assert "There is no flow 'order-snyc'; do you mean 'Order-Sync'?" in near
    assert "There is no flow 'zzz': 'flowrunner flow list' shows the names" in far


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    from flowrunner import __version__

    assert say(monkeypatch, ["version"], {})[1] == f"flowrunner {__version__}\n"


@pytest.mark.parametrize(
    "error", [None, OSError("no cache"), SystemExit(3), UsageError("no such context"), ValueError()]
)
def test_completion_offers_what_fits_and_says_nothing_of_an_error(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, capsys: pytest.CaptureFixture[str]
) -> None:
    flows = listed(
        "flows", flow("f1", "orders"), flow("f2", "order-sync"), flow("f3", "invoices"), flow("f4", "or; rm")
    )
    monkeypatch.setattr(SyncTransport, "send", lambda _, request, **more: Server({"GET /flows": flows}).send(request))
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd()))

    def fail() -> NoReturn:
        assert error is not None
        print("a warning", file=sys.stderr)
        raise error

    if error is not None:
        monkeypatch.setattr(completion, "_directory", fail)
    found = complete_flows(Context(main), Argument(["flow"]), "or")

    assert found == (["orders", "order-sync"] if error is None else [])
    assert capsys.readouterr().err == ""
