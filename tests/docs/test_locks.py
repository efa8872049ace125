"""The lock files of the dependencies."""

import re
import tomllib
from typing import Final

from docs.pages import ROOT

_PIN: Final = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
_NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")


def pins(name: str) -> dict[str, str]:
    return dict(_PIN.findall((ROOT / "requirements" / name).read_text()))


def test_the_runtime_has_the_versions_that_are_tested() -> None:
    runtime, dev = pins("runtime.txt"), pins("dev.txt")

    assert runtime.items() <= pins("temporal.txt").items() <= dev.items()
    assert runtime.items() <= pins("mcp.txt").items() <= dev.items()
    assert runtime.items() <= pins("otel.txt").items() <= dev.items()
    assert len(runtime) > 15


def test_everything_the_project_depends_on_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {_NAME.match(text)[0].lower() for text in project["dependencies"]}  # type: ignore[index]
    asked_for = (ROOT / "requirements" / "runtime.in").read_text().splitlines()

    assert named <= pins("runtime.txt").keys()
    assert named == {_NAME.match(text)[0].lower() for text in asked_for if text}  # type: ignore[index]


def test_every_pin_has_a_hash() -> None:
    for name in ("runtime.txt", "temporal.txt", "mcp.txt", "otel.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text()
        entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(entries) == len(pins(name))
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
