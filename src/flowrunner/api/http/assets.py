"""The built files of the web interface and the pages of the documentation, in memory and compressed."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import flowrunner

BUILT: Final = Path(flowrunner.__file__).parent / "web"
PAGES: Final = Path(flowrunner.__file__).parent / "docs"
# Types by name differ between machines. Not every browser shows text/markdown.
_TYPES: Final = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".ts": "text/plain",
    ".md": "text/plain",
}  # fmt: skip
_IS_COMPRESSED: Final = frozenset({".woff2", ".png"})


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, as it is sent.

    Attributes:
        packed: The content in gzip; None if that saves nothing.
        state: Differs after every change.
    """

    media_type: str
    content: bytes
    packed: bytes | None
    state: str


def read_assets() -> Mapping[str, Asset]:
    """Return the files by their path on the server, without the first slash."""
    built = {path.relative_to(BUILT).as_posix(): path for path in sorted(BUILT.rglob("*")) if path.is_file()}
    pages = {f"docs/{path.name}": path for path in sorted(PAGES.glob("*.md"))}
    return {name: _read(path) for name, path in {**built, **pages}.items()}


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        media_type=_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        content=content,
        packed=None if path.suffix in _IS_COMPRESSED else gzip.compress(content, mtime=0),
        state=hashlib.sha256(content).hexdigest()[:32],
    )
