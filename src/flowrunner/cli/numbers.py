"""Whole numbers on the command line."""

from typing import Any

import click

from flowrunner.domain.whole_numbers import is_whole_number


class WholeNumber(click.IntRange):
    """The type of options that are whole numbers of ASCII digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not is_whole_number(value):
            self.fail(f"'{value}' is not a whole number", param, ctx)
        return super().convert(value, param, ctx)
