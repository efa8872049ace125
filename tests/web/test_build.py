"""The sources of the web interface, and what is built from them and committed."""

import gzip
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from flowrunner.api.http.assets import BUILT
from web.interface import UI, run

KILOBYTE: Final = 1000
FONTS: Final = frozenset({".woff2"})
SWAGGER: Final = frozenset({"swagger-ui.js", "swagger-ui.css"})
# For programs; no screen loads them.
TYPES: Final = "flowrunner-api.d.ts"


def test_the_types_are_those_of_the_api(tmp_path: Path) -> None:
    document = subprocess.run([sys.executable, UI / "openapi.py"], capture_output=True, text=True, check=True).stdout
    run("openapi-typescript", "--default-non-nullable=false", "--output", tmp_path / "schema.ts", stdin=document)

    assert (tmp_path / "schema.ts").read_text() == (UI / "src/api/schema.ts").read_text(), "run: make ui"


def test_the_sources_have_no_faults() -> None:
    run("tsc")


def test_the_parts_do_what_their_tests_say() -> None:
    run("vitest", "run")


def test_the_committed_files_are_what_the_sources_give(tmp_path: Path) -> None:
    run("vite", "build", "--outDir", tmp_path, "--logLevel", "error")

    assert contents(tmp_path) == contents(BUILT), "run: make ui"


def test_no_lock_file_names_a_host_of_a_registry() -> None:
    assert '"resolved"' not in (UI / "package-lock.json").read_text()


@pytest.mark.parametrize(
    ("screen", "most"),
    [
        ("overview", 60),
        ("executions", 60),
        ("flows", 60),
        ("approvals", 60),
        ("triggers", 60),
        ("callbacks", 60),
        ("execution", 60),
        ("flow-edit", 250),
    ],
)
def test_a_screen_loads_little(screen: str, most: int) -> None:
    assert first_load(screen) <= most * KILOBYTE


def test_the_interface_is_small() -> None:
    files = (path for path in BUILT.rglob("*") if path.is_file() and path.suffix not in FONTS)
    whole = {path.name: packed(path) for path in files if path.name not in {*SWAGGER, TYPES}}

    assert sum(whole.values()) <= 380 * KILOBYTE, whole


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def packed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes()))


def first_load(screen: str) -> int:
    """The bytes that a browser loads for a screen, with all that its scripts import at once, without fonts."""
    files = {BUILT / "index.html", BUILT / "theme.js", BUILT / "assets/style.css"}
    left = [BUILT / "assets/index.js", BUILT / f"assets/{screen}.js"]
    while left:
        script = left.pop()
        if script not in files:
            files.add(script)
            found = re.findall(r"""(?:from|import)["'`]\./([\w.-]+\.js)""", script.read_text())
            left += [script.parent / name for name in found]
    return sum(packed(file) for file in files)
