"""The documents of the project, as tests read them."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
README: Final = ROOT / "README.md"
CONTRIBUTING: Final = ROOT / "CONTRIBUTING.md"
ARCHITECTURE: Final = DOCS / "architecture.md"
FLOW_LANGUAGE: Final = DOCS / "flow-language.md"
OLDER_FORMS: Final = DOCS / "older-forms.md"
TRIGGERS: Final = DOCS / "triggers.md"
API: Final = DOCS / "api.md"
MOVING: Final = DOCS / "moving.md"
SETTINGS: Final = DOCS / "settings.md"
OPERATIONS: Final = DOCS / "operations.md"
SERVER: Final = DOCS / "server.md"
POSTGRESQL: Final = DOCS / "postgresql.md"
BACKUP: Final = DOCS / "backup.md"
LIMITS: Final = DOCS / "limits.md"
TELEMETRY: Final = DOCS / "telemetry.md"

_FENCE: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def all_pages() -> list[Path]:
    return [README, CONTRIBUTING, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in _FENCE.findall(page.read_text()) if found == language]


def section(page: Path, title: str) -> str:
    """Return the text below a heading, up to the next one of the same or a higher level."""
    text = page.read_text()
    heading = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert heading is not None, f"{page.name} has no heading '{title}'"
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", text[heading.end() :], re.MULTILINE)
    return text[heading.end() : heading.end() + following.start()] if following else text[heading.end() :]


def anchors(page: Path) -> Sequence[str]:
    """Return the anchors of the page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def rows(text: str) -> Iterator[Sequence[str]]:
    """Yield the rows of the tables in ``text``, without their heads."""
    lines = text.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("| ") and not line.startswith("| ---") and before.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def code_of_calls(functions: set[str], pattern: str) -> set[str]:
    """Return the texts of this form among the arguments of calls of these functions in the program."""
    found = set()
    for path in (ROOT / "src" / "flowrunner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in functions:
                arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
                texts = [one.value for one in arguments if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                found |= {text for text in texts if re.fullmatch(pattern, text)}
    return found


def first_words(text: str) -> list[str]:
    """Return the code spans in the first column of the tables in ``text``."""
    return [word for row in rows(text) for word in re.findall(r"`([^`]+)`", row[0])]
