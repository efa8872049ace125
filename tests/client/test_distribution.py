"""The client as a distribution of its own: built, installed alone, and run against a server."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import flowrunner
from docs.pages import ROOT
from flowrunner.client import __version__
from support.client import Client as PlainClient
from support.server import clean_environment

PROJECT = ROOT / "client"
PROGRAM = """
import sys
from importlib.metadata import version
from flowrunner.client import Client

with Client(sys.argv[1], sys.argv[2]) as client:
    client.flows.create("nodes:\\n  a: {type: return, params: {value: '${flow.input.n * 2}'}}\\n", name="double")
    print(version("flowrunner-client"), client.run("double", {"n": 21}).wait().result)
try:
    import flowrunner.settings
except ModuleNotFoundError:
    print("alone")
try:
    from flowrunner.client import AsyncClient
except ModuleNotFoundError as error:
    print(error.name)
"""


def build(kind: str, directory: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("flowrunner/")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", PROJECT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_runs_alone_against_a_server(wheel: Path, account: PlainClient, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, env=clean_environment())
    done = subprocess.run(
        [python, "-c", PROGRAM, account.url, str(account.token)],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stdout.splitlines() == [f"{__version__} 42", "alone", "aiohttp"], done.stderr


def test_the_archive_of_the_sources_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", PROJECT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("flowrunner_client-*")

    again = contents(build("wheel", unpacked, tmp_path / "wheel"))
    assert again == contents(wheel)
    sources = ROOT / "src" / "flowrunner" / "client"
    assert {name.rpartition("/")[2] for name in again} == {path.name for path in sources.iterdir() if path.is_file()}


def test_the_client_has_the_version_of_the_server() -> None:
    assert __version__ == flowrunner.__version__


def test_the_import_loads_little() -> None:
    code = "import sys, flowrunner.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())

    heavy = {"aiohttp", "asyncio", "concurrent.futures", "random", "urllib.request", "uuid", "flowrunner.client.models"}
    assert loaded & heavy == set()
    own = {name for name in loaded if name.startswith("flowrunner")}
    assert {name for name in own if not name.startswith("flowrunner.client")} == {"flowrunner"}
