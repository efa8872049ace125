"""The reference of the command line, from the help of its commands: `make cli-reference` writes the page."""

from collections.abc import Iterator
from typing import Final

import click

from docs.pages import DOCS
from flowrunner.cli import main
from flowrunner.cli.common import CommonOption, common_options
from flowrunner.cli.lazy import LazyCommand
from flowrunner.settings import Settings

PAGE: Final = DOCS / "cli-reference.md"
_HEAD: Final = """# Commands and options

Every command with its options, from the help of the program. [The command line](cli.md) explains them with examples.
Commands that talk to a server also have the [common options](#common-options); commands that read the settings of a
server also have each [setting](settings.md) as an option.

"""
_SETTINGS: Final = frozenset(Settings.__dataclass_fields__) - {"data_dir"}


def commands(group: click.Group, *around: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command that is no group, with its names."""
    for name in sorted(group.commands):
        entry = group.commands[name]
        command = entry.load() if isinstance(entry, LazyCommand) else entry
        if isinstance(command, click.Group):
            yield from commands(command, *around, name)
        else:
            yield " ".join((*around, name)), command


def options_of(command: click.Command) -> Iterator[click.Option]:
    """Yield the options of a command itself: neither the common ones nor settings."""
    is_of_settings = len(_SETTINGS.intersection(option.name for option in command.params if option.name)) > 10
    for option in command.params:
        is_setting = is_of_settings and option.name in _SETTINGS
        if isinstance(option, click.Option) and not isinstance(option, CommonOption) and not is_setting:
            yield option


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else option.make_metavar(click.Context(click.Command("x")))
    shown = f"{names} `{value}`" if value else names
    return "| {} | {} |\n".format(
        *(text.replace("|", "\\|") for text in (shown, (option.help or "").removesuffix(".")))
    )


def _table(options: Iterator[click.Option]) -> str:
    rows = "".join(_row(option) for option in options)
    return f"\n| option | meaning |\n| --- | --- |\n{rows}" if rows else ""


def text() -> str:
    """Return the page."""
    parts = []
    for name, command in commands(main):
        words = [word for part in command.collect_usage_pieces(click.Context(command)) for word in part.split("\n")]
        about = " ".join((command.help or "").split("\n\n", maxsplit=1)[0].split())
        parts.append(f"## {name}\n\n`flowrunner {name} {' '.join(words)}`\n\n{about}\n{_table(options_of(command))}")
    return f"{_HEAD}## Common options\n{_table(iter(common_options()))}\n" + "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text())
