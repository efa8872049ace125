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
_LASTING: Final = "assets/"


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
    """Return the files by their path on the server, without the first slash.

    Those of `assets` have a second path, which names the build that they are of: a page that is open during an upgrade
    must not load half of another one. Pages and styles name their files by it.
    """
    built = {
        path.relative_to(BUILT).as_posix(): path.read_bytes() for path in sorted(BUILT.rglob("*")) if path.is_file()
    }
    pages = {f"docs/{path.name}": path.read_bytes() for path in sorted(PAGES.glob("*.md"))}
    lasting = f"{_LASTING}{_build_of(built)}/"
    for name, content in built.items():
        if name.endswith((".html", ".css")) or name == "start.js":
            # Scripts import each other by relative paths.
            built[name] = content.replace(f"/{_LASTING}".encode(), f"/{lasting}".encode())
    assets = {name: _asset(name, content) for name, content in {**built, **pages}.items()}
    same = {name.replace(_LASTING, lasting, 1): asset for name, asset in assets.items() if name.startswith(_LASTING)}
    return {**assets, **same}


def _build_of(files: Mapping[str, bytes]) -> str:
    """Return what differs after every change of any of them."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


def _asset(name: str, content: bytes) -> Asset:
    suffix = Path(name).suffix
    return Asset(
        media_type=_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream",
        content=content,
        packed=None if suffix in _IS_COMPRESSED else gzip.compress(content, mtime=0),
        state=hashlib.sha256(content).hexdigest()[:32],
    )
