"""Text of others on a terminal: commands escape what a terminal would obey, and show times of its own zone."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import flowrunner.cli as commands
from cli.command import flowrunner, on_a_terminal
from flowrunner.cli.live import PlainLines, plain_log_line
from flowrunner.cli.run import Progress
from flowrunner.domain.events import NodeStarted, NodeWaiting
from flowrunner.domain.values import ExecutionId
from flowrunner.domain.waits import SignalWait
from flowrunner.ports.journal import Recorded

CLI: Final = Path(commands.__file__).parent
# Clears the screen, sets the title, reorders text, moves the cursor.
EVIL: Final = "x\x1b[2J\x1b]0;owned\x07\u202e\x9b1A\ry"
# YAML has escapes for all of them.
WRITTEN: Final = json.dumps(EVIL)
OPENAPI: Final = {
    "openapi": "3.0.0",
    "info": {"title": EVIL, "version": EVIL},
    "servers": [{"url": "https://api.example.com", "description": EVIL}],
    "paths": {
        f"/pets/{EVIL}": {
            "get": {
                "operationId": EVIL, "summary": EVIL, "description": EVIL, "tags": [EVIL],
                "parameters": [
                    {"name": EVIL, "in": "query", "schema": {"type": EVIL}},
                    {"name": EVIL, "in": EVIL, "schema": {"type": "string"}},
                ],
                "requestBody": {"content": {EVIL: {"schema": {}}}},
                "security": [{EVIL: []}],
            },
            EVIL: {},
        }
    },
    "components": {"securitySchemes": {EVIL: {"type": EVIL}}},
}  # fmt: skip
N8N: Final = {
    "name": EVIL,
    "nodes": [
        {"name": EVIL, "type": EVIL, "parameters": {EVIL: EVIL}, "position": [0, 0]},
        {"name": "cron", "type": "n8n-nodes-base.scheduleTrigger", "parameters": {"rule": {"interval": [{"a": EVIL}]}}},
        {"name": "if", "type": "n8n-nodes-base.if", "parameters": {"conditions": {"options": EVIL, EVIL: [EVIL]}}},
    ],
    "connections": {EVIL: {"main": [[{"node": EVIL, "type": EVIL, "index": 0}]]}},
    "settings": {"timezone": EVIL},
}  # fmt: skip
# The fault of each stands where another part of the document is read.
FLOWS: Final = {
    "node.yaml": f"name: {WRITTEN}\nnodes:\n  {WRITTEN}: {{type: return}}\n",
    "type.yaml": f"nodes: {{a: {{type: {WRITTEN}}}}}\n",
    "edge.yaml": f"nodes: {{a: {{type: log, params: {{message: m}}, next: {WRITTEN}}}}}\n",
    "key.yaml": f"{WRITTEN}: 1\nnodes: {{a: {{type: return, {WRITTEN}: 1}}}}\n",
    "script.yaml": f"nodes: {{a: {{type: return, params: {{value: {json.dumps('${' + EVIL + '}')}}}}}}}\n",
    "spaces.yaml": "nodes:   {a: {type: return}}  # \u202e\n",
    "none.yaml": "nodes: 1\n",
    "runs.yaml": f"nodes: {{a: {{type: log, params: {{message: {WRITTEN}}}}}}}\n",
    "returns.yaml": f"nodes: {{a: {{type: return, params: {{value: {WRITTEN}}}}}}}\n",
    "fails.yaml": f"nodes: {{a: {{type: fail, params: {{message: {WRITTEN}}}}}}}\n",
    "waits.yaml": f"nodes: {{a: {{type: approval, params: {{prompt: {WRITTEN}}}, timeout: 1ms}}}}\n",
    "tests.yaml": (
        "nodes: {a: {type: return, params: {value: 1}}}\n"
        f"tests: {{{WRITTEN}: {{expect: {{output: {WRITTEN}, steps: [{WRITTEN}]}}}}}}\n"
    ),
}
OF_FILES: Final = (
    ("validate",), ("validate", "-o", "json"), ("fmt", "--check"), ("fmt", "--diff"), ("test",), ("test", "-o", "json"),
)  # fmt: skip
EVERY: Final = tuple(f"{EVIL}{name}" for name in FLOWS)
COMMANDS: Final[Sequence[Sequence[str]]] = (
    ("import", "openapi", "api.json", "--list"),
    ("import", "openapi", "api.json", "-o", "from-openapi"),
    ("import", "openapi", "api.json", "-o", "none", "--only", EVIL + "?"),
    ("import", "n8n", "n8n.json", "-o", "from-n8n"),
    ("import", "n8n", EVIL, "-o", "none"),
    *((*command, *EVERY) for command in OF_FILES),
    *(("run", f"{EVIL}{name}") for name in ("type.yaml", "runs.yaml", "returns.yaml", "fails.yaml", "waits.yaml")),
    ("graph", f"{EVIL}none.yaml"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "api.json").write_text(json.dumps(OPENAPI))
    (home / "n8n.json").write_text(json.dumps(N8N))
    for name, text in FLOWS.items():
        (home / f"{EVIL}{name}").write_text(text)
    return home


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_nothing_in_a_file_or_its_name_is_a_command_for_the_terminal(home: Path, command: Sequence[str]) -> None:
    done = flowrunner(*command, at=home)

    shown = done.stdout + done.stderr
    assert re.search(r"\\(x|u00)1b\[2J", shown)
    assert [c for c in shown if not c.isprintable() and c != "\n"] == []


@pytest.mark.parametrize(
    ("command", "settings"),
    [("config", f"host = {WRITTEN}"), ("doctor", f"{WRITTEN} = 1"), ("migrate", f"{WRITTEN} = 1")],
)
def test_no_settings_of_a_directory_are_commands_for_the_terminal(tmp_path: Path, command: str, settings: str) -> None:
    (tmp_path / "flowrunner.toml").write_text(settings)

    done = flowrunner(command, at=tmp_path)

    shown = done.stdout + done.stderr
    assert "x\\x1b[2J" in shown
    assert [c for c in shown if not c.isprintable() and c != "\n"] == []


def test_a_graph_is_escaped_where_it_would_reach_a_terminal(home: Path) -> None:
    shown = on_a_terminal("graph", f"{EVIL}node.yaml", at=home)

    assert "x\\x1b" in shown
    assert [c for c in shown if not c.isprintable() and c not in "\r\n"] == []


@pytest.fixture
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of this process is 5 hours 30 minutes ahead of UTC."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


AT: Final = datetime(2026, 1, 31, 20, 0, 1, 250_000, tzinfo=UTC)
STARTED: Final = NodeStarted(node="a", node_type="wait", iteration=1, attempt=1)
WAITING: Final = NodeWaiting(
    node="a", node_type="wait", iteration=1, attempt=1, wait_for=SignalWait("go"), deadline=AT + timedelta(hours=1)
)
OF_STEP: Final = {"type": "execution_update", "step": "a.1", "timestamp": AT.isoformat()}


def of_progress(event: NodeStarted | NodeWaiting) -> None:
    record = Recorded(seq=1, at=AT, event=event, data=b"{}")
    Progress(quiet=False, colour=False).watch(ExecutionId("exec-1"), [record])


def of_lines(**fields: Any) -> None:
    PlainLines(colour=False).add({**OF_STEP, **fields})


# What prints a moment, and what it prints of it: the time, and a date that is not today's.
MOMENTS: Final[Mapping[str, tuple[Callable[[], object], str]]] = {
    "a local run": (lambda: of_progress(STARTED), "01:30:01.250 start a.1"),
    "a wait of a local run": (lambda: of_progress(WAITING), "until 2026-02-01 02:30:01"),
    "a run on a server": (lambda: of_lines(attempt=1, node_type="wait"), "01:30:01.250 start a.1"),
    "a wait on a server": (
        lambda: of_lines(waiting_for={"type": "signal", "key": "go"}, until=AT.isoformat()),
        "until 2026-02-01 01:30:01",
    ),
    "a log": (
        lambda: print(plain_log_line({"timestamp": AT.isoformat(), "level": "info", "message": "m"})), "01:30:01.250",
    ),
}  # fmt: skip


@pytest.mark.usefixtures("in_kolkata")
@pytest.mark.parametrize("what", MOMENTS)
def test_a_moment_is_shown_in_the_time_zone_of_the_terminal(capsys: pytest.CaptureFixture[str], what: str) -> None:
    show, shown = MOMENTS[what]

    show()

    printed = capsys.readouterr()
    assert shown in re.sub(r"\x1b\[\d*m", "", printed.out + printed.err)


def test_a_time_that_is_not_local_says_so() -> None:
    """A time of a report for programs is in UTC, as the format wants it."""
    written = [
        (str(path.relative_to(CLI)), line.strip())
        for path in CLI.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"strftime|:%", line) and "UTC" not in line
    ]

    assert {name for name, _ in written} == {"text.py", "junit.py"}, written
