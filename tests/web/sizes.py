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
    lists = scripts_of_screens(built)
    scripts = {"index"}.union(*(lists[screen] for screen in screens))
    files = [built / "index.html", built / "start.js", built / "assets/style.css"]
    return sum(packed(file) for file in [*files, *(built / f"assets/{name}.js" for name in scripts)])


def scripts_of_screens(built: Path = BUILT) -> dict[str, frozenset[str]]:
    """The scripts that `start.js` has loaded for each screen and tab, beside `index`."""
    lists: dict[str, frozenset[str]] = {}
    for name, scripts in re.findall(r"""["']?([\w/-]+)["']?:\[([^\]]*)\]""", (built / "start.js").read_text()):
        # The first list of a name: the requests of screens, which follow, have the same names.
        lists.setdefault(name, frozenset(re.findall(r"[\w-]+", scripts)))
    return lists


def imports_of(script: str, built: Path = BUILT) -> frozenset[str]:
    """The scripts that a script loads at once."""
    text = (built / f"assets/{script}.js").read_text()
    return frozenset(re.findall(r"""\b(?:from|import)\s*["'`]\./([\w-]+)\.js["'`]""", text))


def whole() -> dict[str, int]:
    """The bytes of each file, without fonts, the page of the API and what no screen loads."""
    files = (path for path in BUILT.rglob("*") if path.is_file() and path.suffix not in _FONTS)
    return {path.name: packed(path) for path in files if path.name not in _SWAGGER | _NOT_OF_SCREENS}
