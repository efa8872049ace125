"""The statements of docs/architecture.md about the program's structure."""

import ast
import configparser
import re
import sys
from typing import Final

import pytest

from docs.pages import ARCHITECTURE, ROOT, blocks, section
from flowrunner.domain.events import EVENT_TYPES

SOURCE: Final = ROOT / "src" / "flowrunner"
# One parser of text, of which only the events are used (docs/decisions/0002), and one of cron expressions, which asks
# for no time.
OUTSIDE_THE_STANDARD_LIBRARY: Final = {"cronsim", "yaml"}
SIDE_EFFECTS: Final = {
    "asyncio", "concurrent", "ctypes", "fcntl", "http", "importlib", "io", "logging", "multiprocessing", "os",
    "pathlib", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip


def test_the_layers_are_the_ones_that_are_checked() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    checked = [
        {part.strip() for part in line.split("|")}
        for line in config["importlinter:contract:layers"]["layers"].split("\n")
        if line.strip() not in ("", "__main__")
    ]
    text = next(block for block in blocks(ARCHITECTURE, "text") if "serving >" in block)

    assert [{part.strip() for part in layer.split("|")} for layer in text.split(">")] == checked


def test_every_kind_of_event_is_named() -> None:
    text = ARCHITECTURE.read_text()

    assert [kind for kind in EVENT_TYPES if f"`{kind}`" not in text] == []


def test_the_modules_that_changes_concern_exist() -> None:
    named = re.findall(r"`([a-z_0-9/]+\.py)`", section(ARCHITECTURE, "Where a change goes"))

    assert len(named) > 30
    assert [path for path in named if not (SOURCE / path).exists()] == []


@pytest.mark.parametrize("path", sorted((SOURCE / "domain").rglob("*.py")), ids=lambda path: path.stem)
def test_the_domain_imports_nothing_with_side_effects(path) -> None:  # type: ignore[no-untyped-def]
    tops = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            tops |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            tops.add(node.module.partition(".")[0])

    assert tops & SIDE_EFFECTS == set()
    assert tops - {"flowrunner"} - OUTSIDE_THE_STANDARD_LIBRARY <= set(sys.stdlib_module_names)


def test_the_domain_never_asks_for_the_time() -> None:
    for path in (SOURCE / "domain").rglob("*.py"):
        assert not re.search(r"\.(now|utcnow|today)\(", path.read_text()), path
