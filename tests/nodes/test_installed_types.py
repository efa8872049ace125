"""Node types that installed packages add by an entry point."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from flowrunner.nodes import built_in, installed
from support.asgi import call, program_at
from support.client import PASSWORD
from support.server import clean_environment
from support.waiting import PATIENCE_SECONDS

GREET: Final = """
from flowrunner.plugin import JSON, NodeType, Params, StepContext


class GreetParams(Params):
    name: str


class Greet(NodeType[GreetParams]):
    "Greets."

    type = "greet"
    Params = GreetParams

    async def run(self, params: GreetParams, context: StepContext) -> JSON:
        return f"Hello, {params.name}!"
"""


class Packages:
    """Installed packages, each a module with entry points, in a directory on the search path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.modules: list[str] = []

    def add(self, module: str, text: str, *, types: Mapping[str, str]) -> None:
        self.modules.append(module)
        (self.directory / f"{module}.py").write_text(text)
        info = self.directory / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {module}:{value}\n" for name, value in types.items())
        (info / "entry_points.txt").write_text(f"[flowrunner.nodes]\n{lines}")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    packages = Packages(tmp_path / "packages")
    packages.directory.mkdir()
    monkeypatch.syspath_prepend(packages.directory)
    yield packages
    for module in packages.modules:
        sys.modules.pop(module, None)


def found() -> tuple[Mapping[str, Any], list[str]]:
    reports: list[str] = []
    return installed(reports.append), reports


def test_an_installed_package_adds_its_node_types(packages: Packages) -> None:
    packages.add("greetings", GREET, types={"greet": "Greet"})

    types, reports = found()

    assert types.keys() - built_in().keys() == {"greet"}
    assert reports == []


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("import nothing_of_this_name", "Greet", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("import sys\nsys.exit(3)", "Greet", "SystemExit: 3"),
        (GREET, "Missing", "AttributeError: module 'broken' has no attribute 'Missing'"),
        (GREET, "GreetParams", "TypeError: it is not a subclass of flowrunner.plugin.NodeType"),
        (GREET.replace('type = "greet"', 'type = "log"'), "Greet", "ValueError: there already is a node type 'log'"),
        (GREET.replace('type = "greet"', ""), "Greet", "AttributeError: 'Greet' object has no attribute 'type'"),
        (
            "import typing" + GREET.replace("name: str", "name: typing.Callable"),
            "Greet",
            "PydanticInvalidForJsonSchema",
        ),
        ("class Panic(BaseException): ...\n\nraise Panic('native code')", "Greet", "Panic: native code"),
        (GREET.replace('type = "greet"', "type = 7"), "Greet", "TypeError: 'type' must be a text"),
        (GREET + "    actions = None\n", "Greet", "TypeError: 'actions' must hold texts"),
        (GREET + "    def actions_of(self, params):\n        return params['x']\n", "Greet", "KeyError: 'x'"),
        (GREET + "    errors = (5,)\n", "Greet", "TypeError: 'errors' must hold texts"),
        (GREET + "    timeout_seconds = 'soon'\n", "Greet", "TypeError: 'timeout_seconds' must be a number"),
        (GREET.replace("async def run", "async def walk"), "Greet", "TypeError: Can't instantiate abstract class"),
    ],
)
def test_a_broken_node_type_is_reported_and_the_others_are_there(
    text: str, value: str, reason: str, packages: Packages
) -> None:
    packages.add("broken", text, types={"broken": value})
    packages.add("greetings", GREET, types={"greet": "Greet"})

    types, reports = found()

    assert types.keys() == {*built_in(), "greet"}
    assert types["log"].__class__ is built_in()["log"].__class__
    (report,) = reports
    assert report.startswith(f"The node type 'broken' (broken:{value}) cannot be used: {reason}")


async def test_a_flow_runs_a_node_type_of_an_installed_package(packages: Packages, tmp_path: Path) -> None:
    packages.add("greetings", GREET, types={"greet": "Greet"})
    async with program_at(tmp_path / "data") as program:
        await program.services.accounts.create_first(name="Ada", email="ada@example.com", password=PASSWORD)
        login = await program.services.sessions.login("ada@example.com", PASSWORD, address="127.0.0.1")

        async def ask(method: str, path: str, body: Any = None) -> Any:
            sent = b"" if body is None else json.dumps(body).encode()
            return (await call(program.app, method, f"/api/v1/{path}", token=login.token, body=sent)).json

        definition = "metadata: {name: Greeting}\nnodes: {a: {type: greet, params: {name: Ada}}}"
        flow = await ask("POST", "flows", {"definition": definition})
        started = await ask("POST", f"flows/{flow['id']}/run", {"input": {}})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (ran := await ask("GET", f"executions/{started['execution_id']}"))["status"] == "running":  # noqa: ASYNC110 # seen by REST
                await asyncio.sleep(0.02)
        listed = {one["name"]: one for one in (await ask("GET", "node-types"))["node_types"]}

    assert ran["result"] == "Hello, Ada!"
    assert listed.keys() == {*built_in(), "greet"}
    assert listed["greet"]["params_schema"]["required"] == ["name"]


async def test_a_server_reports_a_broken_node_type_in_its_log(packages: Packages, tmp_path: Path) -> None:
    packages.add("broken", GREET, types={"broken": "Missing"})

    with capture_logs() as lines:
        async with program_at(tmp_path / "data"):
            pass

    (line,) = [line for line in lines if line["event"] == "node_type.load_failed"]
    assert line["reason"].startswith("The node type 'broken' (broken:Missing) cannot be used")


def test_a_command_reports_a_broken_node_type_and_goes_on(packages: Packages, tmp_path: Path) -> None:
    packages.add("broken", GREET, types={"broken": "Missing"})
    packages.add("greetings", GREET, types={"greet": "Greet"})

    done = subprocess.run(
        [sys.executable, "-m", "flowrunner", "schema", "greet"],
        env=clean_environment(PYTHONPATH=str(packages.directory)), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert json.loads(done.stdout)["properties"].keys() == {"name"}
    assert done.stderr.startswith("flowrunner: The node type 'broken' (broken:Missing) cannot be used")
