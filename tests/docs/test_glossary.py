"""The words of docs/glossary.md and their names in the code."""

import re

from docs.pages import DOCS, ROOT, rows

GLOSSARY = DOCS / "glossary.md"


def test_every_name_of_the_glossary_is_in_the_code() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    words = set(re.findall(r"\w+", source))
    named = {name for row in rows(GLOSSARY.read_text()) for name in re.findall(r"`([^`]+)`", row[2])}

    assert len(named) > 50
    assert {name for name in named if not set(re.findall(r"\w+", name)) <= words} == set()


def test_every_word_is_explained_once_and_in_one_line() -> None:
    words = [row[0] for row in rows(GLOSSARY.read_text())]

    assert len(words) > 50
    assert len(words) == len(set(words))
