"""Files of flows in a directory, and the names that their flows have on a server."""

import contextlib
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import click
import yaml

from flowrunner.cli.documents import ENDINGS, read_documents
from flowrunner.domain.surrogates import Surrogates
from flowrunner.language.yaml_source import MAX_BYTES

SUFFIX: Final = ".yaml"
# What `read_documents` does not look into.
_SKIPPED: Final = frozenset({"node_modules"})
_PLAIN: Final = frozenset(" -_.,()+@=~&!'")
# Of the name of a file, on the file systems in use.
_MOST_BYTES: Final = 255
_DIGEST_DIGITS: Final = 16
_METADATA: Final = "metadata"
_NAME: Final = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file without nodes, and the name that its flow would have."""

    file: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFile:
    """A document, and the name under which it is deployed."""

    file: str
    name: str
    definition: str


def read_flow_files(places: Sequence[str]) -> tuple[Sequence[FlowFile], Sequence[SkippedFile]]:
    """Return the flows in directories and files, and the files that were skipped because they have no nodes.

    A flow has the name in its metadata, or else that of its file.

    Raises: click.UsageError: A file cannot be deployed, or two have the same name.
    """
    found: list[FlowFile] = []
    skipped: list[SkippedFile] = []
    for place in places:
        documents, others = read_documents([place])
        root = Path(place) if Path(place).is_dir() else Path(place).parent
        for document in documents:
            _check_is_text(document.file)
            if Path(document.file) != Path(place):
                _check_is_inside(Path(document.file), root)
            if document.text is None:
                raise click.UsageError(f"{document.file} is not UTF-8 text: save it as UTF-8")
            if len(document.text.encode()) > MAX_BYTES:
                raise click.UsageError(f"{document.file} has more than {MAX_BYTES} bytes")
            name = _flow_of(document.file, document.text, root)
            found.append(FlowFile(file=document.file, name=name, definition=document.text))
        # What is not text counts as a flow.
        skipped += [SkippedFile(file=one.file, name=_flow_of(one.file, one.text or "", root)) for one in others]
    shared = next((name for name, count in Counter(one.name for one in found).items() if count > 1), None)
    if shared is not None:
        files = ", ".join(one.file for one in found if one.name == shared)
        raise click.UsageError(f"Several files have the flow '{shared}': {files}")
    return found, skipped


def _flow_of(file: str, text: str, root: Path) -> str:
    return named_in(text) or _name_of(Path(file).relative_to(root))


def _check_is_text(file: str) -> None:
    """Raises: click.UsageError: The name, which the flow and messages would have, is not UTF-8."""
    try:
        file.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(file).decode(errors="backslashreplace")
        raise click.UsageError(f"The name of the file {shown} is not UTF-8: rename it") from None


def _check_is_inside(file: Path, root: Path) -> None:
    """Raises: click.UsageError: The file is a link out of the directory, whose author may not read the target."""
    target = file.resolve()
    if not target.is_relative_to(root.resolve()):
        raise click.UsageError(
            f"{file} is a symbolic link to {target}, outside of {root}. Copy that file into {root}, or name it itself."
        )


def file_of(name: str) -> Path:
    """Return the place of a flow below a directory: one that `read_flow_files` reads as the same name."""
    *directories, last = name.split("/")
    if last and all(part and part not in _SKIPPED and Path(part).suffix not in ENDINGS for part in directories):
        return Path(*map(_escaped, directories), _escaped(last) + SUFFIX)
    return Path(_escaped(name) + SUFFIX)


def _place_of(name: str, definition: bytes) -> Path:
    """Return the place of a flow below a directory; that of a long name has its beginning and a digest.

    Raises: click.UsageError: The name is too long for a file, and the document does not have it.
    """
    place = file_of(name)
    if all(len(os.fsencode(part)) <= _MOST_BYTES for part in place.parts):
        return place
    if named_in(definition.decode(errors="replace")) != name:
        raise click.UsageError(
            f"The name of the flow '{name}' is too long for a file: write it into the document, as 'metadata.name'"
        )
    end = f"~{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]}{SUFFIX}"
    beginning = os.fsencode(_escaped(name))[: _MOST_BYTES - len(end)]
    return Path(beginning.decode(errors="ignore") + end)


def _escaped(part: str) -> str:
    """Return a name of a file that is not hidden, leads nowhere else, and is read as ``part``."""
    kept = "".join(c if c.isalnum() or c in _PLAIN else quote(c, safe="") for c in part)
    return f"%2E{kept[1:]}" if kept.startswith(".") else kept


def write_flow_file(directory: Path, name: str, definition: bytes) -> bool:
    """Write a flow into its file, as a whole; return False if it is there already. Raises: click.UsageError."""
    path = directory / _place_of(name, definition)
    try:
        if path.is_file() and not path.is_symlink() and path.read_bytes() == definition:
            return False
        _make_directories(directory, path.parent)
    except OSError as error:
        raise unwritable(path, error) from None
    replace_file(path, definition)
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole: of one that is written in part, a later deployment would make a flow.

    Raises: click.UsageError.
    """
    written = path.with_name(f".{os.getpid()}{SUFFIX}.part")
    try:
        # In a container, a command that was killed had the same number.
        written.unlink(missing_ok=True)
        with written.open("xb") as target:
            # First, so that those who may not read the file cannot read its draft.
            if path.is_file() and not path.is_symlink():
                shutil.copymode(path, written)
            target.write(content)
        written.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            written.unlink()
        raise unwritable(path, error) from None


def write_new_file(path: Path, content: bytes, *, replaces: bool) -> None:
    """Write a file that is not there yet, or with ``replaces`` one that is. Raises: click.UsageError."""
    if replaces:
        replace_file(path, content)
        return
    try:
        with path.open("xb") as target:
            target.write(content)
    except FileExistsError:
        raise click.UsageError(f"{path} exists already: choose another file, or replace it with --force") from None
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> click.UsageError:
    return click.UsageError(f"{path} cannot be written: {error.strerror}")


def _make_directories(directory: Path, wanted: Path) -> None:
    """Make the directories below ``directory``. Raises: OSError: One of them leads elsewhere."""
    for part in [*reversed(wanted.relative_to(directory).parents), wanted.relative_to(directory)]:
        made = directory / part
        if made != directory and made.is_symlink():
            raise OSError(0, f"{made} is a symbolic link")
        made.mkdir(exist_ok=True, parents=made == directory)


def named_in(text: str) -> str | None:
    """Return the name in the metadata of a document; None if it has none that can be read."""
    path: list[str] = []
    key: str | None = None
    surrogates = Surrogates(text)
    try:
        for event in yaml.parse(surrogates.set_apart(), Loader=yaml.CSafeLoader):
            match event:
                case yaml.ScalarEvent(value=value) if key is None and path:
                    key = value
                    continue
                case yaml.ScalarEvent(value=value) if path == ["", _METADATA] and key == _NAME:
                    return surrogates.put_back(value, is_escaped=event.style == '"') or None
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    path.append(key or "")
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    if path.pop() == _METADATA and len(path) == 1:
                        return None
            key = None
    except (yaml.YAMLError, ValueError):
        pass
    return None


def _name_of(file: Path) -> str:
    return "/".join(unquote(part) for part in file.with_suffix("").parts)
