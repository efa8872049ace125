"""Commands that are imported when they are called."""

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator

import click


class LazyCommand(click.Command):
    """Entry of a command in the help of its group, which loads the command itself from ``place`` (`module:name`)."""

    def __init__(self, name: str, place: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.place = place

    def load(self) -> click.Command:
        module, _, name = self.place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


class LazyGroup(click.Group):
    """Command group whose help and completion import none of its lazy commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import without what takes a sixth of the time and finds nothing: garbage, and plugins of pydantic."""
    gc.disable()
    # It reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
