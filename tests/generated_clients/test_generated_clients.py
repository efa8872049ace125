"""The description of the API is good enough for linters, and for clients that generators make of it."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from support.client import PASSWORD, Client
from support.node import run_command, run_program

HERE: Final = Path(__file__).parent
run = partial(run_program, HERE)
# The first test installs the packages.
pytestmark = pytest.mark.timeout(300)
GENERATOR: Final = Path(sys.executable).parent / "openapi-python-client"
SEEN: Final = {
    "status": "completed",
    "result": "Hello, Ada",
    "schema": ["http://json-schema.org/draft-07/schema#", True, False],
    "steps": [["hello", "completed"]],
    "fault": ["nodes"],
    "missing": [404, "not_found", "/docs/api.md#workspaces"],
}


@pytest.fixture(scope="module")
def descriptions(admin: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the description of the REST API and that of the WebSocket."""
    directory = tmp_path_factory.mktemp("descriptions")
    for name in ("openapi.json", "asyncapi.json"):
        reply = Client(admin.url).get(f"/api/v1/{name}")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        (directory / name).write_bytes(reply.body)
    return directory


def test_spectral_has_nothing_to_say(descriptions: Path) -> None:
    found = run(
        "spectral", "lint", descriptions / "openapi.json", descriptions / "asyncapi.json",
        "--ruleset", "spectral.yaml", "--format", "text", "--fail-severity", "hint",
    )  # fmt: skip
    assert found.strip() == "No results with a severity of 'hint' or higher found!"


def test_redocly_has_nothing_to_say(descriptions: Path) -> None:
    found = run(
        "redocly", "lint", descriptions / "openapi.json", "--config", "redocly.yaml", "--format", "json",
    )  # fmt: skip
    assert json.loads(found[found.index("{") :])["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_a_client_made_by_openapi_python_client_is_used(descriptions: Path, account: Client, tmp_path: Path) -> None:
    # It imports httpx and attrs, which it needs, from the environment of the tests.
    made = subprocess.run(
        [
            GENERATOR, "generate", "--path", descriptions / "openapi.json", "--meta", "none",
            "--config", HERE / "openapi-python-client.yaml", "--output-path", tmp_path / "flowrunner_client",
        ],
        cwd=tmp_path, env={**os.environ, "PATH": f"{GENERATOR.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "will not be generated" not in made.stdout
    done = subprocess.run(
        [sys.executable, HERE / "story.py", account.url, account.email, PASSWORD],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == SEEN


def test_a_client_made_by_openapi_ts_is_used(descriptions: Path, account: Client, tmp_path: Path) -> None:
    run("openapi-ts", "--input", descriptions / "openapi.json", "--output", tmp_path / "client", "--silent")
    for name in ("story.ts", "tsconfig.json"):
        shutil.copy(HERE / name, tmp_path)
    # The compiler that most users have.
    run("tsc", "--project", tmp_path / "tsconfig.json")

    seen: Any = json.loads(run_command(tmp_path, "node", "story.js", account.url, account.email, PASSWORD))

    assert seen == SEEN


def test_no_lock_file_names_a_host_of_a_registry() -> None:
    assert '"resolved"' not in (HERE / "package-lock.json").read_text()
