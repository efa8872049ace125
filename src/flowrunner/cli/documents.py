"""Flow documents that are named on the command line."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import click

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Fault
from flowrunner.language.yaml_source import MAX_BYTES

STDIN: Final = "-"
STDIN_NAME: Final = "<stdin>"
ENDINGS: Final = (".yaml", ".yml")
# Every flow has nodes. Other files of a directory are skipped.
_IS_FLOW: Final = re.compile(r"^(\ufeff?\{|['\"]?nodes['\"]?\s*:)", re.MULTILINE)
_NO_TEXT: Final = "the document is not UTF-8 text"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Content of a file.

    Attributes:
        file: Name of the file in messages.
        text: Text of the file; None if it is not UTF-8.
    """

    file: str
    text: str | None


def read_documents(names: Sequence[str]) -> tuple[Sequence[SourceFile], Sequence[SourceFile]]:
    """Return the documents, and the files in directories that were skipped because they are not flows.

    Args:
        names: Files, directories (every .yaml and .yml in them), or `-` for the standard input.

    Raises:
        click.UsageError: If a file cannot be read, or a directory holds no flow.
    """
    check_read_once(*names)
    documents: list[SourceFile] = []
    skipped: list[SourceFile] = []
    for name in names:
        if name == STDIN:
            documents.append(SourceFile(STDIN_NAME, _read_text(sys.stdin.buffer)))
            continue
        path = Path(name)
        if not is_directory(name):
            documents.append(_read(path))
            continue
        files = [_read(file) for file in _flow_files(path)]
        found = [document for document in files if _is_flow(document)]
        skipped += [document for document in files if not _is_flow(document)]
        if not found:
            raise click.UsageError(f"There is no flow in {path}: no .yaml or .yml file that has 'nodes'")
        documents += found
    return documents, skipped


def check_read_once(*given: str | None) -> None:
    """Raises: click.UsageError: Several of these are the standard input."""
    if given.count(STDIN) > 1:
        raise click.UsageError("The standard input can be read once.")


def is_directory(name: str) -> bool:
    """Return whether a name is that of a directory."""
    # `Path.is_dir` raises an error for a name that no file can have, such as a whole document.
    return os.path.isdir(name)


def says_skipped(number: int) -> str:
    """Return the end of a summary: the number of files that were skipped because they are not flows."""
    return f" ({counted(number, 'file')} without 'nodes' left out)" if number else ""


def _flow_files(directory: Path) -> Iterable[Path]:
    """Yield the files of a directory that may be flows. Raises: click.UsageError: A directory cannot be read."""
    for root, directories, files in os.walk(directory, onerror=_refuse):
        # Large directories are pruned here.
        directories[:] = sorted(name for name in directories if not name.startswith(".") and name != "node_modules")
        for name in sorted(files):
            path = Path(root, name)
            if path.suffix not in ENDINGS or name.startswith("."):
                continue
            # What cannot be looked at, such as a link to nothing, is an error of `_read`: pruning would delete its flow
            # if it were left out. `Path.is_file` and `Path.exists` raise some of these errors.
            if os.path.isfile(path) or not os.path.exists(path):
                yield path


def _refuse(error: OSError) -> NoReturn:
    raise click.UsageError(f"{error.filename} cannot be read: {error.strerror}")


def _is_flow(document: SourceFile) -> bool:
    return document.text is None or _IS_FLOW.search(document.text) is not None


def _read(path: Path) -> SourceFile:
    try:
        with path.open("rb") as file:
            return SourceFile(str(path), _read_text(file))
    except OSError as error:
        link = f" (a symbolic link to {path.readlink()})" if os.path.islink(path) else ""
        raise click.UsageError(f"{path} cannot be read: {error.strerror}{link}") from None


def _read_text(file: BinaryIO) -> str | None:
    """Return the text, cut at the maximum size of a flow, because the file may be an endless device."""
    content = file.read(MAX_BYTES + 1)
    try:
        return content.decode(errors="strict" if len(content) <= MAX_BYTES else "replace")
    except UnicodeDecodeError:
        return None


def no_text() -> Fault:
    return Fault(path="", code="encoding", message=_NO_TEXT, line=1, column=1, hint="save it as UTF-8")


def log_errors_only() -> None:
    """Configure logging so that only errors are printed, because the server's log does not help to check a flow."""
    from flowrunner.logs import configure_logging
    from flowrunner.settings import Settings

    configure_logging(Settings(log_level="error"))
