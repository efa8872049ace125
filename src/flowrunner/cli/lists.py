"""Lists of a server: how many entries a command prints, and what it says if there are more."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from flowrunner.cli.common import say
from flowrunner.cli.numbers import WholeNumber
from flowrunner.cli.output import show
from flowrunner.domain.counted import counted

if TYPE_CHECKING:
    from flowrunner.client import Client
    from flowrunner.client.requests import Query

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT: Final = 50


@dataclass(frozen=True, slots=True)
class Limit:
    """The most entries to print.

    Attributes:
        most: None for all.
        is_chosen: The user has given the number.
    """

    most: int | None
    is_chosen: bool


def limit_option(function: F) -> F:
    """Add `--limit` and `--all`, and call the command with their `Limit` as ``limit``."""

    @functools.wraps(function)
    def limited(*arguments: Any, limit: int | None, is_all: bool, **more: Any) -> Any:
        if is_all and limit is not None:
            raise click.UsageError("--limit and --all contradict each other: give one of them")
        most = None if is_all else limit or _DEFAULT
        return function(*arguments, limit=Limit(most, is_chosen=limit is not None), **more)

    add_all = click.option("--all", "is_all", is_flag=True, help="List all of them.")
    add_limit = click.option(
        "-n", "--limit", metavar="NUMBER", type=WholeNumber(1), help=f"Maximum number; {_DEFAULT} by default."
    )
    return add_limit(add_all(limited))  # type: ignore[return-value] # the command that click calls


def show_list(
    client: "Client",
    path: str,
    columns: str,
    *,
    limit: Limit,
    query: "Query | None" = None,
    name: str = "id",
    empty: str = "There is nothing to show",
) -> None:
    """Print the entries of a list as `show` does, and say so if the default limit has cut the list off."""
    if limit.most is None or limit.is_chosen:
        show(client.entries(path, query=query, most=limit.most), columns, name=name, empty=empty)
        return
    # The one after the last is asked for, and not shown.
    entries = client.entries(path, query=query, most=limit.most + 1)
    show(itertools.islice(entries, limit.most), columns, name=name, empty=empty)
    if next(entries, None) is not None:
        listed = counted(limit.most, "entry is", "entries are")
        say(f"Only the first {listed} listed: -n NUMBER lists more, and --all lists all")
