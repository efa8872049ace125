"""Build the documentation as a site: `python docs/site [DIRECTORY]`. It fails for a link that leads nowhere."""

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

ROOT: Final = Path(__file__).parents[2]
# Pages that stand elsewhere, or under another name, in the repository.
_MOVED: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/README.md": "all.md",
}
# Notes for the tests, which the generator takes for the begin of a block of HTML.
_NOTE: Final = re.compile(r"^<!--.*?-->\n", re.MULTILINE)
# Such as the status of an answer, behind the language of a block.
_TITLE: Final = re.compile(r"^```(\w+) +([^\n]+)$", re.MULTILINE)
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def pages() -> dict[str, str]:
    """Return where each page and picture stands on the site, by its path in the repository."""
    found = dict(_MOVED)
    for path in (ROOT / "docs").rglob("*"):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in (".md", ".png") and name not in found:
            found[name] = name.removeprefix("docs/")
    return found


def on_site(text: str, source: str, places: dict[str, str]) -> str:
    """Return the text of a page with links as they are on the site. A link to a file that is not on it becomes text."""

    def replaced(link: re.Match[str]) -> str:
        mark, words, target = link.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return link[0]
        there = places.get(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        if there is None:
            return f"`{path}`" if words == path else words
        relative = posixpath.relpath(there, posixpath.dirname(places[source]) or ".")
        return f"{mark}[{words}]({relative}{'#' + anchor if anchor else ''})"

    # Code keeps what looks like a link.
    parts = re.split(r"(^```.*?^```$)", _TITLE.sub(r'```\1 title="\2"', text), flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, _NOTE.sub("", part)) for part in parts)


def prepare(build: Path) -> None:
    """Write the pages as the generator reads them."""
    shutil.rmtree(build / "pages", ignore_errors=True)
    places = pages()
    for source, place in places.items():
        to = build / "pages" / place
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.suffix == ".md":
            to.write_text(on_site((ROOT / source).read_text(), source, places))
        else:
            shutil.copyfile(ROOT / source, to)


class _Links(HTMLParser):
    """The targets of links, pictures and scripts of a page, and the names in it."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name == "id" and value:
                self.names.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """Yield each link of the built site to one of its files or headings that does not exist."""
    read: dict[Path, _Links] = {}
    for path in site.rglob("*.html"):
        read[path] = _Links()
        read[path].feed(path.read_text())
    for path, found in read.items():
        for target in found.targets:
            parts = urlsplit(target)
            # The page of missing addresses has links for the root of a site whose address is unknown.
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if there.is_dir():
                there /= "index.html"
            names = read[there].names if there in read else set()
            if not there.is_file() or (parts.fragment and there in read and unquote(parts.fragment) not in names):
                yield f"{path.relative_to(site)}: {target}"


def main(build: Path) -> int:
    prepare(build)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file"]
    shutil.copyfile(Path(__file__).with_name("mkdocs.yml"), build / "mkdocs.yml")
    done = subprocess.run([*command, str(build / "mkdocs.yml")], cwd=build, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        return done.returncode
    broken = sorted(broken_links(build / "site"))
    for link in broken:
        sys.stderr.write(f"{link} leads nowhere\n")
    sys.stdout.write(f"{build / 'site' / 'index.html'}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build"))
