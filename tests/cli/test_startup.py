"""Modules that commands load at the start. Users run these commands on every save."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from support.server import clean_environment

# Of what a server is made of, none reads flows.
HEAVY: Final = (
    "aiohttp", "alembic", "argon2", "cryptography", "fastapi", "jsonschema_rs", "prometheus_client", "rich", "sqlite3",
    "structlog", "uvicorn", "uvloop", "websockets", "flowrunner.bootstrap", "flowrunner.engine", "flowrunner.flowtest",
    "flowrunner.sandbox.pool", "flowrunner.storage",
)  # fmt: skip
# What other commands, or other options, need.
UNUSED_BY_LISTS: Final = (
    "asyncio", "httpx", "jmespath", "keyring", "msgspec", "pydantic", "sqlalchemy", "yaml", "flowrunner.language",
    "flowrunner.nodes", "flowrunner.settings",
)  # fmt: skip
_LIST: Final = """
import sys
from flowrunner.cli import main
main(sys.argv[1:], prog_name="flowrunner", standalone_mode=False)
"""


def loaded(*arguments: str, at: Path) -> set[str]:
    """Return the modules that a command has loaded at its end."""
    program = f"import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{_LIST}"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=at, env=clean_environment(HOME=str(at)), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    names = set(done.stderr.splitlines()[-1].split())
    assert "flowrunner.cli.main" in names
    return names


def test_help_loads_nothing_but_the_command_line(tmp_path: Path) -> None:
    names = loaded("--help", at=tmp_path)

    assert names & {*HEAVY, *UNUSED_BY_LISTS, "flowrunner.client", "http.client"} == set()
    assert {name for name in names if name.startswith("flowrunner.cli.commands")} == set()


def test_commands_for_a_server_load_nothing_of_one(tmp_path: Path) -> None:
    # Nobody listens there: all that a request needs has been loaded.
    names = loaded("executions", "list", "--url", "http://127.0.0.1:1", at=tmp_path)

    assert "flowrunner.client" in names
    assert names & {*HEAVY, *UNUSED_BY_LISTS} == set()


@pytest.mark.parametrize("command", [("validate", "flow.yaml"), ("schema",)], ids=" ".join)
def test_what_reads_flows_loads_nothing_of_a_server(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text('nodes:\n  a: {type: return, params: {value: "${flow.input.x}"}}\n')

    assert loaded(*command, at=tmp_path) & set(HEAVY) == set()


def test_validate_imports_what_the_flow_has(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text('nodes:\n  a: {type: http.request, params: {url: "http://x"}}\n')

    names = loaded("validate", "flow.yaml", at=tmp_path)

    assert {name for name in names if name.startswith("flowrunner.nodes.")} == {
        "flowrunner.nodes.charsets", "flowrunner.nodes.checks", "flowrunner.nodes.durations", "flowrunner.nodes.files",
        "flowrunner.nodes.http", "flowrunner.nodes.http_answers", "flowrunner.nodes.http_request",
    }  # fmt: skip
    assert names & {"asyncio", "logging", "flowrunner.language.flow_tests", "flowrunner.language.triggers"} == set()


def test_javascript_and_schemas_are_loaded_by_the_flows_that_have_them(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        'inputs: {x: {default: 1}}\nnodes:\n  a: {type: return, params: {value: "${flow.input.x + 1}"}}\n'
    )

    names = loaded("validate", "flow.yaml", at=tmp_path)

    assert {"jsonschema_rs", "flowrunner.sandbox.pool"} <= names
    assert "aiohttp" not in names


def test_tests_of_flows_load_nothing_that_could_reach_outside(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text("nodes:\n  a: {type: return}\ntests:\n  one: {}\n")

    names = loaded("test", "flow.yaml", at=tmp_path)

    assert names & {"aiohttp", "email.message", "fastapi", "smtplib", "sqlite3", "flowrunner.bootstrap"} == set()
