"""The reference of the command line is that of the program."""

from docs.cli_reference import PAGE, commands, options_of, text
from flowrunner.cli import main


def test_the_reference_is_that_of_the_program() -> None:
    assert PAGE.read_text() == text(), "run: make cli-reference"


def test_every_option_of_every_command_is_on_the_page() -> None:
    sections = {part.partition("\n")[0]: part for part in PAGE.read_text().split("\n## ")[1:]}
    found = list(commands(main))

    assert len(found) > 80
    for name, command in found:
        assert [option.opts for option in options_of(command) if f"`{option.opts[0]}`" not in sections[name]] == []
