"""The files that CONTRIBUTING.md names."""

import re

from docs.pages import CONTRIBUTING, ROOT, section


def test_every_file_exists_unless_it_is_yet_to_be_written() -> None:
    named = re.findall(r"`((?:\w[\w.-]*/)+[\w.-]*|\w+\.md)`( \(new\))?", CONTRIBUTING.read_text())

    assert len(named) > 30
    assert [path for path, new in named if bool(new) == (ROOT / path).exists()] == []


def test_a_first_trigger_touches_few_files() -> None:
    files = set(re.findall(r"`src/([^`]+)`", section(CONTRIBUTING, "A trigger type")))

    assert len(files) <= 12
