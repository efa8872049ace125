"""The sources of the web interface, and what is built from them and committed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowrunner.api.http.assets import BUILT
from flowrunner.api.http.guides import guide_of_error, guide_of_status
from flowrunner.domain.errors import FlowDisabled
from web.interface import TSC, UI, run
from web.sizes import KILOBYTE, first_load, imports_of, scripts_of_screens, whole


def test_the_types_are_those_of_the_api(tmp_path: Path) -> None:
    document = subprocess.run([sys.executable, UI / "openapi.py"], capture_output=True, text=True, check=True).stdout
    run("openapi-typescript", "--default-non-nullable=false", "--output", tmp_path / "schema.ts", stdin=document)

    assert (tmp_path / "schema.ts").read_text() == (UI / "src/api/schema.ts").read_text(), "run: make ui"


def test_the_sources_have_no_faults() -> None:
    run(TSC, "--singleThreaded")


def test_the_parts_do_what_their_tests_say() -> None:
    run("vitest", "run")


def test_the_committed_files_are_what_the_sources_give(tmp_path: Path) -> None:
    run("vite", "build", "--outDir", tmp_path, "--logLevel", "error")

    assert contents(tmp_path) == contents(BUILT), "run: make ui"


def test_hints_for_programs_that_the_interface_rewords_are_those_of_the_server() -> None:
    _, _, words = (UI / "src/texts/hints.ts").read_text().partition("export const forPeople")
    table, _, _ = words.partition("};")
    reworded = re.findall(r"""^  (?:"([^"]+)"|'([^']+)'):""", table, re.MULTILINE)

    assert reworded
    guides = [guide_of_error(FlowDisabled("any")), *(guide_of_status(status) for status in range(400, 600))]
    assert {plain or quoted for plain, quoted in reworded} <= {guide.hint for guide in guides if guide is not None}


def test_no_lock_file_names_a_host_of_a_registry() -> None:
    assert '"resolved"' not in (UI / "package-lock.json").read_text()


@pytest.mark.parametrize(
    ("screens", "most"),
    [
        (("overview",), 60),
        (("executions",), 60),
        (("flows",), 60),
        (("approvals",), 60),
        (("triggers",), 60),
        (("callbacks",), 60),
        (("flow-executions",), 60),
        (("flow-triggers",), 60),
        (("flow-settings",), 60),
        (("execution",), 50),
        # With its first tab.
        (("execution", "execution/graph"), 57),
        (("flow-edit",), 250),
    ],
)
def test_a_screen_loads_little(screens: tuple[str, ...], most: int) -> None:
    assert first_load(*screens) <= most * KILOBYTE


def test_a_screen_loads_nothing_later_that_its_scripts_import() -> None:
    """A browser would find it only in them, and the sizes above would leave it out."""
    lists = scripts_of_screens()
    found = {}
    for name, scripts in lists.items():
        loaded = scripts | lists[name.partition("/")[0]] | {"index"}
        found[name] = {imported for script in loaded for imported in imports_of(script)} - loaded

    assert found.keys() >= {"overview", "execution", "execution/graph", "flow-edit"}
    assert any(imports_of(script) for script in lists["overview"])
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_the_interface_is_small() -> None:
    sizes = whole()

    assert sum(sizes.values()) <= 380 * KILOBYTE, sizes


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
