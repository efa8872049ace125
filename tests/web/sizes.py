"""What a browser loads of the interface, compressed."""

import gzip
import re
from pathlib import Path
from typing import Final

from flowrunner.api.http.assets import BUILT

KILOBYTE: Final = 1000
_FONTS: Final = frozenset({".woff2"})
_SWAGGER: Final = frozenset({"swagger-ui.js", "swagger-ui.css"})
# For programs and for the server; no screen loads them.
_NOT_OF_SCREENS: Final = frozenset({"flowrunner-api.d.ts", "flow-picture.js"})


def packed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes()))


def first_load(screen: str) -> int:
    """The bytes that a browser loads for a screen, with all that its scripts import at once, without fonts."""
    files = {BUILT / "index.html", BUILT / "start.js", BUILT / "assets/style.css"}
    left = [BUILT / "assets/index.js", BUILT / f"assets/{screen}.js"]
    while left:
        script = left.pop()
        if script not in files:
            files.add(script)
            found = re.findall(r"""(?:from|import)["'`]\./([\w.-]+\.js)""", script.read_text())
            left += [script.parent / name for name in found]
    return sum(packed(file) for file in files)


def whole() -> dict[str, int]:
    """The bytes of each file, without fonts, the page of the API and what no screen loads."""
    files = (path for path in BUILT.rglob("*") if path.is_file() and path.suffix not in _FONTS)
    return {path.name: packed(path) for path in files if path.name not in _SWAGGER | _NOT_OF_SCREENS}
