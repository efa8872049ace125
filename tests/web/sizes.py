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


def first_load(*screens: str, built: Path = BUILT) -> int:
    """The bytes that a browser loads for a screen, with all that its scripts import at once, without fonts.

    Args:
        screens: Its name in the list of `start.js`, such as `execution`, and that of its tab: `execution/graph`.
    """
    start = (built / "start.js").read_text()
    scripts = {"index"}
    for screen in screens:
        # The first list of that name: the requests of screens, which follow, have the same names.
        found = re.search(rf"""[{{,"']{re.escape(screen)}["']?:\[([^\]]*)\]""", start)
        assert found is not None, screen
        scripts.update(re.findall(r"[\w-]+", found[1]))
    files = [built / "index.html", built / "start.js", built / "assets/style.css"]
    return sum(packed(file) for file in [*files, *(built / f"assets/{name}.js" for name in scripts)])


def whole() -> dict[str, int]:
    """The bytes of each file, without fonts, the page of the API and what no screen loads."""
    files = (path for path in BUILT.rglob("*") if path.is_file() and path.suffix not in _FONTS)
    return {path.name: packed(path) for path in files if path.name not in _SWAGGER | _NOT_OF_SCREENS}
