"""Flows to begin with. The web interface offers the same ones."""

from pathlib import Path
from typing import Final

NAMES: Final = (
    *("hello", "http", "webhook", "schedule", "approval", "foreach", "switch", "poll", "signals", "upload", "email"),
    *("mailbox", "sql", "agent"),
)
_DIRECTORY: Final = Path(__file__).with_name("flow_templates")


def template(name: str) -> str:
    """Return the document of a template."""
    return (_DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8")
