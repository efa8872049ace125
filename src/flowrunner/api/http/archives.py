"""Archives of flow documents: a zip with a file `<percent-encoded name>.yaml` for each flow."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from flowrunner.domain.errors import InvalidInput, invalid, quoted
from flowrunner.services.flow_batches import MAX_BYTES, MAX_FLOWS, FlowDocument

SUFFIX: Final = ".yaml"
# The end of the central directory: its signature, the number of entries, and the size and place of the directory.
_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_END_OF_LARGE: Final = b"PK\x06\x07"
_ENTRY_SIGNATURE: Final = b"PK\x01\x02"
_MOST_COMMENT: Final = 65_535
# Names of 200 characters, percent-encoded, with the fields around them.
_DIRECTORY_BYTES: Final = MAX_FLOWS * 4 * 1024
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1
_CHUNK: Final = 64 * 1024


def archived_name(name: str) -> str:
    return quote(name, safe="") + SUFFIX


def documents_of(archive: bytes) -> list[FlowDocument]:
    """Return the documents of an archive. Blocks: call it on a thread.

    Number, names and sizes are checked before anything is decompressed, and no more than `MAX_BYTES` is.

    Raises: InvalidInput.
    """
    _check_directory(archive)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if len(entries) > MAX_FLOWS:
                raise _too_many()
            names = [_name_of(entry) for entry in entries]
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise _too_large()
            return [
                FlowDocument(name=name, definition=text, place=f"/{entry.filename}")
                for name, entry, text in zip(names, entries, _texts(opened, entries), strict=True)
            ]
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, struct.error) as error:
        raise invalid("archive", f"cannot be read: {error}", code="archive") from None


def _check_directory(archive: bytes) -> None:
    """Reject an archive whose list of files is too long to be read. Raises: InvalidInput."""
    at = archive.rfind(_END_SIGNATURE, max(len(archive) - _MOST_COMMENT - _END.size, 0))
    if at < 0 or len(archive) < at + _END.size:
        raise invalid("archive", "is not a zip archive", code="archive")
    _, _, _, _, count, size, _, _ = _END.unpack_from(archive, at)
    if archive.rfind(_END_OF_LARGE, max(at - 20, 0), at) >= 0:
        raise _too_large()
    # The count may be wrong, but the entries are in the directory, just before its end.
    directory = archive[max(at - size, 0) : at]
    if size > _DIRECTORY_BYTES or count > MAX_FLOWS or directory.count(_ENTRY_SIGNATURE) > MAX_FLOWS:
        raise _too_many()


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Return the name of the flow in a file. Raises: InvalidInput if the file is not one of a flow."""

    def wrong(message: str) -> InvalidInput:
        hint = "each file is a document called <percent-encoded name>.yaml, in no directory"
        return invalid("archive", f"{quoted(entry.filename)} {message}", code="archive", hint=hint)

    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir() or kind not in (0, stat.S_IFREG):
        raise wrong("is not a regular file")
    if not entry.filename.endswith(SUFFIX) or "/" in entry.filename or "\\" in entry.orig_filename:
        raise wrong("is not the name of a document")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise wrong("is encrypted, or compressed with an unusual method")
    try:
        return unquote_to_bytes(entry.filename.removesuffix(SUFFIX)).decode()
    except UnicodeDecodeError:
        raise wrong("is not percent-encoded UTF-8") from None


def _texts(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> Iterator[str]:
    left = MAX_BYTES
    for entry in entries:
        chunks = []
        with archive.open(entry) as file:
            # The size that the directory states may be wrong.
            while chunk := file.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _too_large()
                chunks.append(chunk)
        try:
            yield b"".join(chunks).decode()
        except UnicodeDecodeError:
            raise invalid("archive", f"{quoted(entry.filename)} is not UTF-8", code="archive") from None


def _too_many() -> InvalidInput:
    return invalid("archive", f"has more than {MAX_FLOWS} files", code="too_long")


def _too_large() -> InvalidInput:
    return invalid("archive", f"has more than {MAX_BYTES} bytes of documents", code="too_long")


class ArchiveWriter:
    """An archive that is written in pieces, none of which is kept. Its methods block: call them on a thread."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)  # type: ignore[call-overload] # enough

    def add(self, document: FlowDocument) -> bytes:
        """Add a document; return the next bytes of the archive."""
        # One time for all, so that equal flows make equal archives.
        entry = zipfile.ZipInfo(archived_name(document.name), (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        self._archive.writestr(entry, document.definition.encode())
        return self._sink.taken()

    def end(self) -> bytes:
        """Return the last bytes of the archive."""
        self._archive.close()
        return self._sink.taken()


class _Sink:
    """A file that can only be written, and returns what was written since it was last asked."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
