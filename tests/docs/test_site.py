"""The documentation as a site."""

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.pages import DOCS, ROOT
from flowrunner.language.yaml_source import read_yaml

CONFIGURATION = DOCS / "site" / "mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Another process that runs these tests builds the site, too.
    build = tmp_path_factory.mktemp("build")
    command = [sys.executable, "docs/site", str(build)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "site" / "index.html"


def test_no_link_of_the_site_leads_nowhere_and_code_is_shown_as_code(site: Path) -> None:
    api = (site.parent / "api" / "index.html").read_text()

    assert "<title>Home - FlowRunner</title>" in site.read_text()
    assert "Tutorial" in site.read_text()
    # A block whose language has a status behind it.
    assert 'id="errors"' in api
    assert "```" not in api


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[errors](#errors)", "[errors](#errors)"),
        ("[a site](https://example.com/a.md#b)", "[a site](https://example.com/a.md#b)"),
        ("[start](../README.md#start)", "[start](../index.md#start)"),
        ("[a decision](0001-a.md)", "[a decision](0001-a.md)"),
        ("![a screen](../a.png)", "![a screen](../a.png)"),
        ("[the code](../../src/a.py) and [a.py](a.py)", "the code and `a.py`"),
        ("```text\n[a.py](a.py)\n```", "```text\n[a.py](a.py)\n```"),
        ("<!-- a note -->\ntext", "text"),
    ],
)
def test_links_lead_to_the_same_places_on_the_site(written: str, shown: str) -> None:
    on_site = runpy.run_path(str(DOCS / "site" / "__main__.py"))["on_site"]
    places = {
        "docs/decisions/0002-b.md": "decisions/0002-b.md", "docs/decisions/0001-a.md": "decisions/0001-a.md",
        "docs/README.md": "index.md", "docs/a.png": "a.png",
    }  # fmt: skip

    assert on_site(written, "docs/decisions/0002-b.md", places) == shown


def test_a_link_of_the_site_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    broken_links = runpy.run_path(str(DOCS / "site" / "__main__.py"))["broken_links"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "index.html").write_text('<h1 id="überschrift">A</h1>')
    (tmp_path / "404.html").write_text('<a href="/base/gone.html">Home</a>')
    targets = ["#here", "#gone", "there/", "there/#%C3%BCberschrift", "there/#gone", "gone/", "gone.png", "a%20b.png"]
    links = "".join(f'<a id="here" href="{target}">A</a>' for target in [*targets, "https://example.com/gone#gone"])
    (tmp_path / "index.html").write_text(f'{links}<img src="gone.svg">')
    (tmp_path / "a b.png").touch()

    found = [link.removeprefix("index.html: ") for link in broken_links(tmp_path)]

    assert found == ["#gone", "there/#gone", "gone/", "gone.png", "gone.svg"]


def test_nothing_of_the_site_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.parent.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)\b[^>]*?\b(?:src|href)="(https?:)?//([^"/]+)', page.read_text())
        assert loaded == [], page


def test_every_page_is_in_the_navigation() -> None:
    text = CONFIGURATION.read_text()
    navigation = read_yaml(text[text.index("nav:") :]).value
    assert isinstance(navigation, dict)
    named = {name for name in pages_of(navigation["nav"]) if (DOCS / name).is_file()}

    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} == {name for name in named if "/" not in name}


def pages_of(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, dict):
        for entry in navigation.values():
            yield from pages_of(entry)
    else:
        for entry in navigation:
            yield from pages_of(entry)
