"""Options of commands that talk to a server: each changes what is sent, and what it is given is among that."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner

from flowrunner.cli.common import common_options
from flowrunner.cli.lazy import LazyCommand
from flowrunner.cli.main import main
from flowrunner.cli.server_command import ServerCommand
from flowrunner.client.answers import Answer
from flowrunner.client.requests import Request
from flowrunner.client.sync_transport import SyncTransport

ID: Final = "exec-01mb8hy0g5h2xn12mr48nyth80ma2h3ts644"
ENTRY: Final[Mapping[str, Any]] = {
    "id": ID, "name": "thing", "slug": "thing", "key": "THING", "account_id": "account-1", "email": "thing@example.com",
    "status": "completed", "number": 1, "revision": 1, "created_at": "2026-01-01T00:00:00.000Z", "type": "schedule",
    "enabled": True, "role": "admin", "level": "info", "message": "done", "link": "/x", "execution_id": ID, "total": 1,
    "definition": "nodes: {a: {type: return}}", "flow_id": "flow-1", "missing_secrets": [], "next": [], "done": 1,
    "value": 1, "failed": 0, "errors": [], "used_by": [], "reasons": [], "params": {"size": 1, "value": 1},
    "plan": {"action": "update", "diff": "", "is_truncated": False, "summary": None}, "executions": [{"id": ID}],
    "timestamp": "2026-01-01T00:00:00.000Z",
}  # fmt: skip
# What commands take that need more than one word for each argument.
ARGUMENTS: Final[Mapping[str, Sequence[str]]] = {
    "account update": ["thing", "--name", "other"],
    "api": ["POST", "/flows"],
    "flow create": ["flow.yaml"],
    "value import": ["values.yaml"],
    "flow restore": ["thing", "1"],
    "flow update": ["thing", "flow.yaml"],
    **{f"{group}{name}": ["--flow", "thing"] for name in ("cancel", "rerun") for group in ("", "executions ")},
    "executions delete": ["--flow", "thing"],
    **{f"executions {name}": [ID] for name in ("get", "logs", "output", "steps")},
    "executions params": [ID, "--step", "thing.1"],
    "logs": [ID],
    "signal": ["paid", "--label", "kind=thing"],
    "trigger backfill": ["thing/thing", "--from", "2026-01-01", "--to", "2026-01-02", "-y"],
}
# They ask for more than one thing, for a long time or nobody at all, and have tests of their own.
ELSEWHERE: Final = {
    "apply", "approve", "context add", "context list", "context remove", "context use", "dev", "diff", "doctor",
    "executions events", "executions watch", "export", "import", "job watch", "login", "logout", "mcp", "open",
    "plugin list", "trigger listen", "watch", "whoami",
}  # fmt: skip
# Options that change what is shown, or what is done with an answer.
NOT_SENT: Final = {"definition", "exit_code", "follow", "force", "wait", "timeout", "yes", "file"}
# Those of flows that run here.
LOCAL: Final = {"others", "secrets_file", "values_file", "approve", "reject", "signals", "egress_allow"}
# Those of one execution; the others of its command select many.
OF_ONE: Final = {"--from", "--elements", "--node-input", "--input", "--set-label", "--revision", "--same-keys"}
# The kinds of ids of what starts executions. Anything else is looked for.
STARTERS: Final = {"trigger": "trig", "rerun_of": "exec", "parent": "exec", "job": "job"}
# Options that mean something only beside another one.
BESIDE: Final[Mapping[str, Sequence[str]]] = {
    "content_type": ["-i", "{}"],
    "node_input": ["--from", "a"],
    "elements": ["--from", "a"],
}
# Options that take only what there is, that stand alone, or that are meant without a workspace alone.
ALONE: Final = {"workspace_to", "email_confirmed", "installation"}


# What commands say to people of an answer that shows nothing, or of a dry run, other than "done".
SAID: Final = {
    "account password": "Password changed; log in again\n",
    "flow diff": "There is no difference\n",
    **{
        path: f"Dry run: 1 execution would be {done}. Nothing was changed\n"
        for done, paths in {
            "cancelled": ("cancel", "executions cancel"),
            "re-run": ("rerun", "executions rerun"),
            "deleted": ("executions delete",),
        }.items()
        for path in paths
    },
    "trigger next": "There is nothing to show\n",
    **dict.fromkeys(("logs", "executions logs"), "No node has failed: this is the whole log\n"),
}


def commands(command: click.Command, path: Sequence[str] = ()) -> Iterator[tuple[str, click.Command]]:
    command = command.load() if isinstance(command, LazyCommand) else command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.commands[name], (*path, name))
    elif isinstance(command, ServerCommand) and " ".join(path) not in ELSEWHERE:
        yield " ".join(path), command


def options() -> Iterator[Any]:
    common = {option.name for option in common_options()}
    for path, command in commands(main):
        for option in command.params:
            if (
                isinstance(option, click.Option)
                and option.name not in common | NOT_SENT | LOCAL | ALONE
                and not option.required
            ):
                yield pytest.param(path, command, option, id=f"{path} {option.opts[-1]}")


def given(parameter: click.Parameter, word: str) -> str:
    """Return a value that a parameter takes, with the word in it if that may be."""
    metavar = str(parameter.metavar or "")
    match parameter.type:
        case click.Choice(choices=choices):
            return str(choices[-1])
        case click.types.IntParamType() | click.types.FloatParamType():
            return "7"
    if parameter.name in ("since", "until"):
        return "2026-01-02T03:04:05Z"
    if parameter.name in STARTERS:
        return f"{STARTERS[parameter.name]}-{word:0>36}"
    if "DURATION" in metavar:
        return "3h"
    if "FILE" in metavar and "JSON" not in metavar:
        return "flow.yaml"
    forms = {"NAME=VALUE": f"{word}=1", "NAME: VALUE": f"X-{word}: 1", "INPUT": f"{word}=1"}
    return forms.get(metavar, json.dumps({"a": word}) if "JSON" in metavar else word)


def arguments_of(path: str, command: click.Command) -> list[str]:
    found = list(ARGUMENTS.get(path, ()))
    for parameter in command.params if not found else ():
        if isinstance(parameter, click.Argument):
            found += [given(parameter, "thing")] if parameter.required or parameter.nargs == -1 else []
        elif parameter.required:
            found += [parameter.opts[-1], given(parameter, "thing")]
    return [*found, *(["-y"] if any("-y" in parameter.opts for parameter in command.params) else [])]


class Server:
    """It notes what is sent, and has one thing of each kind."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.entry = ENTRY

    def send(self, request: Request, **_: object) -> Answer:
        self.sent.append((request.method, request.target, dict(request.headers), request.body))
        name = request.target.partition("?")[0].rpartition("/")[2].replace("-", "_")
        is_list = request.method == "GET" and name != "params" and name.endswith(("s", "audit", "config", "store"))
        body = {name: [self.entry], "total": 1, "refused": {"count": 0, "last": []}} if is_list else self.entry
        headers = {"content-type": "application/json", "x-request-id": "req-1"}
        return Answer(status=200, headers=headers, body=json.dumps(body).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    server = Server()
    monkeypatch.setattr(SyncTransport, "send", lambda _, request, **more: server.send(request, **more))
    monkeypatch.setattr("flowrunner.client.requests.new_key", lambda: "one-key")
    for name, value in {"URL": "http://127.0.0.1:1", "TOKEN": "a-token"}.items():
        monkeypatch.setenv(f"FLOWRUNNER_{name}", value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("flow.yaml").write_text("nodes: {a: {type: return}}\n")
    Path("values.yaml").write_text("thing: 2\n")
    return server


def takes_text(option: click.Parameter) -> bool:
    return (
        isinstance(option, click.Option) and not option.is_flag and isinstance(option.type, click.types.StringParamType)
    )


def call(server: Server, path: str, given: Sequence[str]) -> Sequence[Any]:
    server.sent = []
    done = CliRunner().invoke(main, [*path.split(), *given], input="a secret value\n")
    assert done.exit_code == 0, (path, given, done.output, done.exception)
    # Beside its answer, a command that succeeds says something only where there is nothing to answer.
    assert done.stderr in ("", "done\n", SAID.get(path)), (path, given)
    return server.sent


@pytest.mark.parametrize(("path", "command", "option"), list(options()))
def test_an_option_changes_what_is_sent(
    server: Server, path: str, command: click.Command, option: click.Option
) -> None:
    arguments = [ID] if path.endswith("rerun") and option.opts[-1] in OF_ONE else arguments_of(path, command)
    arguments = [*arguments, *BESIDE.get(option.name or "", ())]
    words = ["tolkien", "turing"] if option.multiple else ["tolkien"]
    values = [value for word in words for value in (option.opts[-1], given(option, word))]

    without = call(server, path, arguments)
    sent = call(server, path, [*arguments, *([option.opts[-1]] if option.is_flag else values)])

    assert sent != without
    for word, value in zip(words, values[1::2], strict=True):
        assert option.is_flag or word not in value or word in repr(sent).lower(), word


@pytest.mark.parametrize(("path", "command", "option"), [each for each in options() if takes_text(each.values[2])])
def test_an_empty_value_is_sent_or_refused_and_never_taken_for_none(
    server: Server, path: str, command: click.Command, option: click.Option
) -> None:
    """The value of a variable that a script has not set: another token, another filter or another flow is not meant."""
    arguments = [ID] if path.endswith("rerun") and option.opts[-1] in OF_ONE else arguments_of(path, command)
    arguments = [*arguments, *BESIDE.get(option.name or "", ())]
    without = call(server, path, arguments)

    server.sent = []
    done = CliRunner().invoke(main, [*path.split(), *arguments, option.opts[-1], ""])

    assert done.exit_code in (2, 5) or (done.exit_code == 0 and server.sent != without), (done.output, server.sent)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        pytest.param(*each, id=each[0])
        for each in commands(main)
        # The one fails where nothing was delivered, and the other without a context.
        if each[0] not in ("callback test", "workspace use")
    ],
)
def test_a_command_that_succeeds_says_nothing_beside_its_answer(
    server: Server, path: str, command: click.Command
) -> None:
    Path(".env").write_text("THING=a new value of it")
    Path(".env").chmod(0o600)
    yes = ["-y"] if any("-y" in parameter.opts for parameter in command.params) else []

    call(server, path, [*WORDS[path], *yes] if path in WORDS else arguments_of(path, command))


@pytest.mark.parametrize("path", ["logs", "executions logs"])
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["--failed"], "node=broken"),
        (["--failed", "--node", "other"], "node=other"),
        (["--node", "other"], "node=other"),
    ],
)
def test_the_log_of_the_node_that_failed_is_shown_unless_another_one_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: str, given: Sequence[str], sent: str
) -> None:
    monkeypatch.setattr(server, "entry", {**ENTRY, "failed_node": "broken"})

    *_, (_, target, _, _) = call(server, path, [ID, *given])

    assert sent in target


@pytest.mark.parametrize(
    ("given", "confirmed"),
    [
        (["thing@example.com"], "thing@example.com"),
        (["thing@example.com", "--email", "other@example.com"], "other@example.com"),
        (["thing", "--email", "other@example.com"], "other@example.com"),
    ],
)
def test_the_address_that_is_confirmed_is_the_new_one_or_that_which_names_the_account(
    server: Server, given: Sequence[str], confirmed: str
) -> None:
    *_, (method, _, _, body) = call(server, "account update", [*given, "--email-confirmed"])

    assert (method, json.loads(body)) == ("PUT", {"email_confirmed": True, "email": confirmed})


@pytest.mark.parametrize("option", [each for each in common_options() if not each.is_flag], ids=lambda each: each.name)
@pytest.mark.parametrize("is_before", [True, False])
def test_an_empty_common_option_is_refused(server: Server, option: click.Option, is_before: bool) -> None:
    given = [option.opts[-1], ""]

    done = CliRunner().invoke(main, [*given, "flow", "list"] if is_before else ["flow", "list", *given])

    assert (done.exit_code, server.sent) == (2, [])
    assert option.opts[-1] in done.output


# What commands take for which a word is not enough.
WORDS: Final[Mapping[str, Sequence[str]]] = {
    "secret import": [".env"],
    "trigger backfill": ["thing", "--from", "2026-01-01", "--to", "2026-01-02"],
    "workspace invitations revoke": ["thing", "thing@example.com"],
    "workspace members remove": ["thing", "thing@example.com"],
    "workspace members set": ["thing", "thing@example.com", "viewer"],
}


def asking() -> Iterator[Any]:
    for path, command in commands(main):
        if any("-y" in parameter.opts for parameter in command.params):
            yield pytest.param(path, command, id=path)


@pytest.mark.parametrize(("path", "command"), list(asking()))
def test_a_command_that_takes_yes_changes_nothing_without_it(server: Server, path: str, command: click.Command) -> None:
    Path(".env").write_text("THING=a new value of it")
    Path(".env").chmod(0o600)
    arguments = WORDS.get(path) or [each for each in arguments_of(path, command) if each != "-y"]

    done = CliRunner().invoke(main, [*path.split(), *arguments])

    assert (done.exit_code, "give --yes to confirm" in done.output) == (2, True), (done.output, done.exception)
    # What it asks about, it may have asked for.
    changes = [
        (method, target) for method, target, *_ in server.sent if method != "GET" and "dry_run=true" not in target
    ]
    assert changes == []


def test_each_command_that_deletes_asks() -> None:
    deleting = {
        path: any("-y" in parameter.opts for parameter in command.params)
        for path, command in commands(main)
        if 'request("DELETE"' in inspect.getsource(inspect.unwrap(command.callback or abs))
    }

    assert len(deleting) > 7
    assert [path for path, asks in deleting.items() if not asks] == []


def waiting() -> Iterator[Any]:
    for path, command in commands(main):
        for option in command.params:
            if (
                isinstance(option, click.Option)
                and option.name in ("wait", "follow", "timeout")
                and option.opts[0] != "-f"
            ):
                yield pytest.param(path, command, option, id=f"{path} {option.opts[-1]}")


@pytest.mark.parametrize(("path", "command", "option"), list(waiting()))
def test_an_option_that_waits_does_so_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: str, command: click.Command, option: click.Option
) -> None:
    waits: list[float | None] = []

    def follow(client: object, id: str, view: object, *, seconds: float | None) -> Mapping[str, Any]:
        waits.append(seconds)
        return ENTRY

    monkeypatch.setattr("flowrunner.cli.waiting.follow", follow)
    arguments = [ID] if path.endswith("rerun") else arguments_of(path, command)

    call(server, path, arguments)
    assert waits == []
    call(server, path, [*arguments, option.opts[-1], *([] if option.is_flag else ["90s"])])

    assert waits == [90.0 if option.name == "timeout" else None]


# Clears the screen, sets the title, reorders text, moves the cursor.
EVIL: Final = "x\x1b[2J\x1b]0;owned\x07\u202e\x9b1A\ry"
# Members of answers that hold texts of others, by names that commands do not look for.
EVIL_ENTRY: Final[Mapping[str, Any]] = {
    **ENTRY,
    **dict.fromkeys(("description", "error", "message", "url", "address", "agent", "actor", "display", EVIL), EVIL),
    "link": EVIL, "tags": [EVIL], "labels": {EVIL: EVIL}, "nested": {"deep": [{EVIL: EVIL}]},
    "state": "armed", "used_by": [{"id": EVIL, "name": EVIL}], "missing_secrets": [EVIL], "result": {EVIL: [EVIL]},
    "plan": {"action": "update", "diff": EVIL, "is_truncated": False, "summary": None},
}  # fmt: skip
# They write what the server sends as it is, unless it is to a terminal.
WRITES_BYTES: Final = {"api", "flow diff", "flow export"}
# It says nothing of the server's, and needs a context.
SILENT: Final = {"workspace use"}


@pytest.mark.parametrize("form", ["table", "json", "yaml", "name", "ndjson"])
@pytest.mark.parametrize(
    ("path", "command"),
    [pytest.param(*each, id=each[0]) for each in commands(main) if each[0] not in WRITES_BYTES | SILENT],
)
def test_nothing_that_a_server_says_is_a_command_for_the_terminal(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: str, command: click.Command, form: str
) -> None:
    monkeypatch.setattr(server, "entry", EVIL_ENTRY)
    yes = ["-y"] if any("-y" in parameter.opts for parameter in command.params) else []
    arguments = [*WORDS[path], *yes] if path in WORDS else arguments_of(path, command)
    Path(".env").write_text("THING=a new value of it")
    Path(".env").chmod(0o600)

    done = CliRunner().invoke(main, [*path.split(), *arguments, "-o", form], input="a secret value\n")

    # One that tests a callback says that it was not delivered.
    assert done.exit_code == (1 if path == "callback test" else 0), (done.output, done.exception)
    assert [c for c in done.output if not c.isprintable() and c != "\n"] == []


# Arguments that name something of the server, and those of them that it looks up itself.
THINGS: Final = {
    "account", "callback", "delivery", "execution", "flow", "ids", "invitation", "member", "token", "trigger",
    "workspace",
}  # fmt: skip
LOOKED_UP_THERE: Final = {
    "account confirm-email token", "flow move workspace", "workspace members add member",
}  # fmt: skip


def things() -> Iterator[Any]:
    for path, command in commands(main):
        for argument in command.params:
            id = f"{path} {argument.name}"
            if isinstance(argument, click.Argument) and argument.name in THINGS and id not in LOOKED_UP_THERE:
                yield pytest.param(path, command, argument, "", id=id)
                # The list of flows is asked for a name, and this server has one of any name.
                if argument.name != "flow":
                    yield pytest.param(path, command, argument, "no-such-one", id=f"{id} unknown")
                    yield pytest.param(path, command, argument, ID[:8], id=f"{id} of three digits")


@pytest.mark.parametrize(("path", "command", "argument", "name"), list(things()))
def test_an_empty_or_unknown_name_is_that_of_nothing(
    server: Server, path: str, command: click.Command, argument: click.Argument, name: str
) -> None:
    """Every id begins with an empty text, or with its first digits, and there may be one thing of a kind alone."""
    words = ["-y"] if any("-y" in parameter.opts for parameter in command.params) else []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            words.append(name if parameter is argument else given(parameter, "thing"))
        elif parameter.required:
            words += [parameter.opts[-1], given(parameter, "thing")]
    if path == "account update":
        words += ["--name", "other"]

    done = CliRunner().invoke(main, [*path.split(), *words])

    assert done.exit_code == 5, (done.output, done.exception)
    assert {method for method, *_ in server.sent} <= {"GET"}


@pytest.mark.parametrize("unknown", ["exec-zzzzzz", "zzzzzz", "no id", ""])
@pytest.mark.parametrize(
    "path",
    [
        path
        for path, command in commands(main)
        if any(parameter.name == "ids" and parameter.nargs == -1 for parameter in command.params)
        and not path.endswith("rerun")
    ],
)
def test_nothing_is_done_to_the_first_of_several_if_another_one_is_not_there(
    server: Server, path: str, unknown: str
) -> None:
    done = CliRunner().invoke(main, [*path.split(), "-y", ID, unknown])

    assert done.exit_code == 5, (done.output, done.exception)
    assert {method for method, *_ in server.sent} <= {"GET"}
