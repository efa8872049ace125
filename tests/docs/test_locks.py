"""The lock files of the dependencies."""

import re
import sys
import tomllib
from typing import Final

from docs.pages import ROOT

_PIN: Final = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
_NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")
_IMPORTED: Final = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(_PIN.findall((ROOT / "requirements" / name).read_text()))


def test_the_runtime_has_the_versions_that_are_tested() -> None:
    runtime, dev = pins("runtime.txt"), pins("dev.txt")

    assert runtime.items() <= pins("temporal.txt").items() <= dev.items()
    assert runtime.items() <= pins("mcp.txt").items() <= dev.items()
    assert runtime.items() <= pins("otel.txt").items() <= dev.items()
    assert pins("release.txt").items() <= dev.items()
    assert len(runtime) > 15


def test_everything_the_project_depends_on_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {_NAME.match(text)[0].lower() for text in project["dependencies"]}  # type: ignore[index]
    asked_for = (ROOT / "requirements" / "runtime.in").read_text().splitlines()

    assert named <= pins("runtime.txt").keys()
    assert named == {_NAME.match(text)[0].lower() for text in asked_for if text}  # type: ignore[index]


def test_the_extra_for_telemetry_names_what_its_code_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["otel"]
    packages = {text.replace("-", "_") for text in (*project["dependencies"], *extra)}
    sources = [path.read_text() for path in (ROOT / "src" / "flowrunner" / "otel").glob("*.py")]
    imported = {name for text in sources for name in _IMPORTED.findall(text)}
    others = imported - sys.stdlib_module_names - {"flowrunner"}

    assert {"opentelemetry", "urllib3"} <= others
    assert [name for name in others if not any(re.match(rf"{name}\b|{name}_", package) for package in packages)] == []
    assert set(extra) <= set((ROOT / "requirements" / "otel.in").read_text().splitlines())


def test_every_pin_has_a_hash() -> None:
    for name in ("runtime.txt", "temporal.txt", "mcp.txt", "otel.txt", "release.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text()
        entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(entries) == len(pins(name))
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
