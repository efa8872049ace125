"""The files of a release: what they hold, that two builds are equal, and that the wheel runs where it is installed."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

import flowrunner
from docs.pages import ROOT, SERVER, section
from support.server import clean_environment

WHEEL: Final = f"flowrunner_server-{flowrunner.__version__}-py3-none-any.whl"
SOURCES: Final = f"flowrunner_server-{flowrunner.__version__}.tar.gz"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a release of a clone of the last commit."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a clone")
    clone = tmp_path_factory.mktemp("release") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), clone], check=True)
    # It refuses if two builds of the commit differ.
    done = subprocess.run(
        [sys.executable, clone / "deploy" / "release.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return clone / "dist"


def test_a_release_has_two_distributions_their_components_and_checksums(release: Path) -> None:
    version = flowrunner.__version__

    assert {path.name for path in release.iterdir()} == {
        WHEEL, SOURCES, f"flowrunner_client-{version}-py3-none-any.whl", f"flowrunner_client-{version}.tar.gz",
        f"flowrunner-server-{version}.cdx.json", "SHA256SUMS", "runtime.txt", "mcp.txt", "otel.txt", "temporal.txt",
    }  # fmt: skip
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=release, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_the_archives_hold_the_program_and_not_the_tests(release: Path) -> None:
    with tarfile.open(release / SOURCES) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(release / WHEEL) as wheel:
        packed = set(wheel.namelist())
        (metadata,) = (name for name in packed if name.endswith(".dist-info/METADATA"))
        described = wheel.read(metadata).decode()

    tops = {name.partition("/")[0] for name in names}
    assert tops <= {
        "src",
        "requirements",
        "deploy",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }
    program = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "flowrunner").rglob("*.py")}
    committed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    program &= {name.removeprefix("src/") for name in committed.splitlines()}
    for held in (packed, {name.removeprefix("src/") for name in names}):
        assert {"flowrunner/web/index.html", "flowrunner/docs/server.md"} <= held
        assert [name for name in program if name not in held and (ROOT / "src" / name).exists()] == []
    for size, most in (((release / WHEEL).stat().st_size, 5_000_000), ((release / SOURCES).stat().st_size, 5_000_000)):
        assert size < most
    assert "Name: flowrunner-server\n" in described
    # Nothing names a host that may not exist.
    assert re.findall(r"^(?:Project-URL|Home-page|Download-URL): .*$", described, re.MULTILINE) == []


def test_every_upper_bound_is_that_of_the_lock() -> None:
    asked = (ROOT / "requirements" / "runtime.in").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert {line.partition(";")[0] for line in asked if line} == set(project["dependencies"])


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Make an environment that has what the program depends on, and an index with nothing."""
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("flowrunner", "_flowrunner", "__editable__")):
            (site / entry.name).symlink_to(entry)
    programs = tmp_path / "venv" / "bin"
    # The pip of the developers' environment, for this one.
    (programs / "pip").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{programs}/python" "$@"\n')
    (programs / "pip").chmod(0o755)
    return clean_environment(PATH=f"{programs}:{os.environ['PATH']}", PIP_NO_INDEX="1", HOME=str(tmp_path))


def lines_of_the_page() -> list[str]:
    text = section(SERVER, "Installing")
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_the_wheel_is_installed_as_the_page_says_and_runs(
    release: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    line, *exact = (line for line in lines_of_the_page() if line.startswith("pip "))
    assert [step.split()[-1] for step in exact] == ["runtime.txt", f"./{WHEEL}"]
    (tmp_path / "hello.yaml").write_text("nodes: {a: {type: return, params: {value: '${flow.input.n + 1}'}}}\n")

    # Then those that install exactly what is tested: nothing is left to install.
    installed = subprocess.run(
        " && ".join([line, *exact]),
        shell=True,
        cwd=release,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    version = subprocess.run(["flowrunner", "--version"], env=environment, capture_output=True, text=True, check=True)
    ran = subprocess.run(
        ["flowrunner", "run", "--local", "hello.yaml", "-q", "-i", "n=1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert version.stdout == f"flowrunner {flowrunner.__version__}\n"
    assert ran.stdout.strip() == "2", ran.stderr
    where = ["python", "-c", "import flowrunner; print(flowrunner.__file__)"]
    found = subprocess.run(where, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(tmp_path))


@pytest.mark.parametrize("tool", ["pipx", "uvx"])
def test_the_other_installers_run_it_as_the_page_says(tool: str, release: Path, tmp_path: Path) -> None:
    (line,) = (line for line in lines_of_the_page() if line.startswith(f"{tool} "))
    assert WHEEL in line
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}, and an index")
    command = line.replace("flowrunner dev", "flowrunner --version")
    environment = clean_environment(
        HOME=str(tmp_path), PIPX_HOME=str(tmp_path / "pipx"), PIPX_BIN_DIR=str(tmp_path / "bin")
    )

    done = subprocess.run(
        command, shell=True, cwd=release, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if tool == "pipx":
        done = subprocess.run(
            [tmp_path / "bin" / "flowrunner", "--version"], capture_output=True, text=True, check=True
        )
    assert done.stdout == f"flowrunner {flowrunner.__version__}\n"
