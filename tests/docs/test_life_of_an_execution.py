"""The files that docs/life-of-an-execution.md names: a reader follows one execution through few of them."""

from collections.abc import Sequence

from docs.pages import DOCS, ROOT, first_words, section

PAGE = DOCS / "life-of-an-execution.md"
EDGE = "The request"


def test_every_file_exists_and_is_named_once() -> None:
    files = named()

    assert [name for name in files if not (ROOT / "src" / "flowrunner" / name).is_file()] == []
    assert len(files) == len(set(files))


def test_one_execution_is_followed_through_few_files() -> None:
    edge = [*first_words(section(PAGE, EDGE)), "api/live.py"]

    assert len(named()) <= 30
    assert len([name for name in named() if name not in edge]) <= 20
    assert {name for name in named() if name.startswith("api/")} <= set(edge)


def named() -> Sequence[str]:
    return [row for row in first_words(PAGE.read_text()) if row.endswith(".py")]
