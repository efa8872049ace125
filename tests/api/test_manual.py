"""The documentation that is installed with the program, and the search in it."""

import pytest

from docs.pages import DOCS, anchors
from flowrunner.api.manual import MOST_WORDS, PAGES, Manual


@pytest.fixture(scope="module")
def manual() -> Manual:
    return Manual()


def test_every_page_is_part_of_the_package(manual: Manual) -> None:
    assert {path.name for path in PAGES.glob("*.md")} == {path.name for path in DOCS.glob("*.md")}
    assert manual.find("triggers") == (DOCS / "triggers.md").read_text()


def test_every_section_is_found_by_the_anchor_that_links_name(manual: Manual) -> None:
    for page in (DOCS / "api.md", DOCS / "flow-language.md"):
        # The heading of the page stands for the page.
        missing = [anchor for anchor in anchors(page)[1:] if manual.find(f"{page.stem}#{anchor}") is None]
        assert missing == []


@pytest.mark.parametrize(
    ("query", "topic"),
    [
        ("cron schedule time zone", "triggers#schedules"),
        ("http.request retry", "flow-language#retries"),
        ("how do I write a test for a flow", "testing-flows"),
        ("idempotency key header", "api"),
        ("publish a flow as a tool", "mcp#flows-as-tools"),
    ],
)
def test_the_words_of_a_question_find_the_section(manual: Manual, query: str, topic: str) -> None:
    found = [one["topic"] for one in manual.search(query, limit=5)]

    assert [one for one in found if one == topic or one.startswith(f"{topic}#")], found


def test_the_work_of_a_search_is_bounded_by_its_words(manual: Manual) -> None:
    words = " ".join(f"word{n}" for n in range(1000))

    assert manual.search(words + " retry", limit=5) == [], f"only the first {MOST_WORDS} words count"
    assert manual.search("retry " + words, limit=5) != []
    assert manual.search("", limit=5) == []


@pytest.mark.parametrize("topic", ["", "../README", "triggers#", "triggers#nothing", "/etc/passwd", "decisions/README"])
def test_nothing_else_is_read(manual: Manual, topic: str) -> None:
    assert manual.find(topic) is None
