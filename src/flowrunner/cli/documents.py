"""The flow documents that somebody names on the command line."""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click

from flowrunner.domain.errors import Fault
from flowrunner.language.yaml_source import MAX_BYTES

STDIN: Final = "-"
_ENDINGS: Final = (".yaml", ".yml")
# A flow has nodes. What else lies in a directory is not looked at.
_IS_FLOW: Final = re.compile(r"^(\ufeff?\{|['\"]?nodes['\"]?\s*:)", re.MULTILINE)
_NO_TEXT: Final = "the document is no UTF-8 text"


@dataclass(frozen=True, slots=True)
class Document:
    """A file as it was read.

    Attributes:
        file: How messages call it.
        text: None if it is no text.
    """

    file: str
    text: str | None


def read_documents(names: Sequence[str]) -> tuple[Sequence[Document], int]:
    """The documents, with how many files of directories were left out because they are no flows.

    Args:
        names: Files, directories (every .yaml and .yml in them), or `-` for the standard input.

    Raises:
        click.UsageError: If one cannot be read, or there is none in a directory.
    """
    if list(names).count(STDIN) > 1:
        raise click.UsageError("The standard input can be read once.")
    documents: list[Document] = []
    left_out = 0
    for name in names:
        if name == STDIN:
            documents.append(Document("<stdin>", _read_text(sys.stdin.buffer)))
            continue
        path = Path(name)
        if not path.is_dir():
            documents.append(_read(path))
            continue
        files = [_read(file) for file in _flow_files(path)]
        found = [document for document in files if _is_flow(document)]
        left_out += len(files) - len(found)
        if not found:
            raise click.UsageError(f"There is no flow in {path}: no .yaml or .yml file that has 'nodes'")
        documents += found
    return documents, left_out


def _flow_files(directory: Path) -> Iterable[Path]:
    for root, directories, files in os.walk(directory):
        # Pruned here, for these can be large.
        directories[:] = sorted(name for name in directories if not name.startswith(".") and name != "node_modules")
        for name in sorted(files):
            path = Path(root, name)
            if path.suffix in _ENDINGS and not name.startswith(".") and path.is_file():
                yield path


def _is_flow(document: Document) -> bool:
    return document.text is None or _IS_FLOW.search(document.text) is not None


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            return Document(str(path), _read_text(file))
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None


def _read_text(file: BinaryIO) -> str | None:
    """The text, cut off where it is too long for a flow anyway: it may be a device that never ends."""
    content = file.read(MAX_BYTES + 1)
    try:
        return content.decode(errors="strict" if len(content) <= MAX_BYTES else "replace")
    except UnicodeDecodeError:
        return None


def no_text() -> Fault:
    return Fault(path="", code="encoding", message=_NO_TEXT, line=1, column=1, hint="save it as UTF-8")


def plain(text: str) -> str:
    """The text without what a terminal would take as a command."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def wants_colour(stream_is_tty: bool, environ: Mapping[str, str]) -> bool:
    """Whether to print colours: on a terminal, unless `NO_COLOR` is set."""
    return stream_is_tty and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def log_errors_only() -> None:
    """What a server would tell of itself is of no interest to whoever looks at a flow."""
    from flowrunner.logs import configure_logging
    from flowrunner.settings import Settings

    configure_logging(Settings(log_level="error"))
