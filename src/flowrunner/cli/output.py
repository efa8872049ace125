"""Output of data: tables for people, and JSON, YAML or names for programs."""

import itertools
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from flowrunner.cli.common import Common, common, has_colour, say
from flowrunner.cli.text import (
    UNSAFE,
    fit,
    json_text,
    pad,
    plain,
    relative,
    short_duration,
    short_size,
    width,
)

_COLOURS: Final = {
    "completed": "green", "delivered": "green", "armed": "green", "running": "cyan", "waiting": "yellow",
    "retrying": "yellow", "pending": "yellow", "paused": "yellow", "failed": "red", "failing": "red",
}  # fmt: skip
_MOMENTS: Final = ("at", "since", "until", "timestamp")
_LONGEST_CELL: Final = 60
# Fields that commands which change something show besides those of the API.
_OF_COMMANDS: Final = frozenset({"changed", "created", "diff", "dry_run", "file", "is_new", "pruned", "unchanged"})
# An id, and of it the time and the first random digits.
_ID: Final = re.compile(r"^([a-z]+-[0-9a-z]{15})[0-9a-z]{21}$")


def show(value: Any, columns: str = "", *, name: str = "id", empty: str = "There is nothing to show") -> None:
    """Print an object, or rows, in the format that the user has chosen.

    Args:
        value: An object, or an iterable of objects.
        columns: The fields that a table shows, separated by spaces; `field:TITLE` gives another title. Without
            them it shows all.
        name: The field that `-o name` prints.
        empty: What people are told if there are no rows.

    Raises:
        click.UsageError: If `--fields` names a field that there is not.
    """
    wanted = common()
    if wanted.query is not None:
        _show_query(wanted.query, value, wanted.output)
        return
    fields = _wanted_fields(wanted)
    is_one = isinstance(value, Mapping)
    rows: Iterable[Mapping[str, Any]] = [value] if is_one else value
    if fields and wanted.output != "name":
        rows = _with_fields(rows, fields)
    match wanted.output or "table":
        case "name":
            for row in rows:
                click.echo(plain(str(_at(row, name))))
        case "ndjson":
            for row in rows:
                click.echo(json_text(_chosen(row, fields), indent=None))
        case "json" | "yaml" as form:
            chosen = [_chosen(row, fields) for row in rows]
            _print_as(form, chosen[0] if is_one else chosen)
        case _ if is_one:
            _print_object(_chosen(value, fields or columns.split()))
        case _:
            _print_table(list(rows), fields or columns.split(), empty)


def print_bytes(content: bytes) -> None:
    """Print a body of the server as it is, or escaped where it would reach a terminal."""
    if sys.stdout.isatty():
        print_text(content.decode(errors="replace").removesuffix("\n"))
    else:
        sys.stdout.buffer.write(content)


def show_value(value: Any) -> None:
    """Print any JSON value: as JSON, on one line for each element of a list with NDJSON, or as YAML."""
    wanted = common()
    if wanted.query is not None:
        _show_query(wanted.query, value, wanted.output)
    elif wanted.output == "ndjson":
        for one in value if isinstance(value, list) else [value]:
            click.echo(json_text(one, indent=None))
    else:
        _print_as("yaml" if wanted.output == "yaml" else "json", value)


def print_lines(lines: Iterable[Mapping[str, Any]]) -> None:
    """Print lines of a log as they come: as text, or as JSON."""
    if not common().is_for_people:
        show(lines, name="message")
        return
    from flowrunner.cli.live import plain_log_line

    colour = has_colour(sys.stdout)
    line = None
    for line in lines:
        click.echo(plain_log_line(line), color=colour)
    if line is None:
        say("The log has no such line")


def _print_as(form: str, value: Any) -> None:
    click.echo(_yaml(value).removesuffix("\n") if form == "yaml" else json_text(value, indent=2))


def print_text(text: str) -> None:
    """Print text of others as it is, or escaped where it would reach a terminal."""
    click.echo("\n".join(map(plain, text.split("\n"))) if sys.stdout.isatty() else text)


def _yaml(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    return yaml.safe_dump(value, allow_unicode=False, sort_keys=False) if UNSAFE.search(text) else text


def _show_query(expression: str, value: Any, form: str | None) -> None:
    import jmespath

    try:
        found = jmespath.search(expression, value if isinstance(value, Mapping) else list(value))
    except jmespath.exceptions.JMESPathError as error:
        raise click.UsageError(f"--query: {plain(str(error))}") from None
    match form:
        case "name" | "ndjson":
            for one in found if isinstance(found, list) else [found]:
                is_raw = form == "name" and isinstance(one, str)
                click.echo(plain(one) if is_raw else json_text(one, indent=None))
        case "yaml":
            _print_as("yaml", found)
        case _:
            _print_as("json", found)


def _with_fields(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> Iterable[Mapping[str, Any]]:
    """Return the rows. Raises: click.UsageError: The first has no such field, and no answer of the API has."""
    rows = iter(rows)
    if (first := next(rows, None)) is None:
        return ()
    # Many fields are left out where they have no value.
    for field in _in_no_answer([field for field in fields if field.partition(".")[0] not in first]):
        raise click.UsageError(f"--fields: there is no field '{plain(field)}'; there are {', '.join(first)}")
    return itertools.chain([first], rows)


def check_fields(wanted: Common, model: str = "") -> None:
    """Reject `--fields` that no answer has, before something is changed.

    Args:
        model: The only answer that counts, by its name in `client.models`: what is shown once would otherwise be lost.

    Raises:
        click.UsageError: There is such a field.
    """
    if wanted.output == "name":
        return
    fields = [field for field in _wanted_fields(wanted) if model or field.partition(".")[0] not in _OF_COMMANDS]
    for field in _in_no_answer(fields, model):
        raise click.UsageError(f"--fields: there is no field '{plain(field)}', and nothing was changed")


def _wanted_fields(wanted: Common) -> Sequence[str]:
    return [field.strip() for field in (wanted.fields or "").split(",") if field.strip()]


def _in_no_answer(fields: Sequence[str], model: str = "") -> Sequence[str]:
    """Return the fields that no answer of the API has, or not this one."""
    if not fields:
        return ()
    from flowrunner.client import models

    answers = [getattr(models, model)] if model else vars(models).values()
    known = {name for one in answers for name in getattr(one, "__annotations__", ())}
    return [field for field in fields if field.partition(".")[0] not in known]


def _chosen(row: Mapping[str, Any], fields: Sequence[str]) -> Mapping[str, Any]:
    return {field: _at(row, field) for field in fields} if fields else row


def _at(row: Any, path: str) -> Any:
    for key in path.split("."):
        row = row.get(key) if isinstance(row, Mapping) else None
    return row


def _print_object(value: Mapping[str, Any]) -> None:
    longest = max(map(width, value), default=0)
    now = datetime.now(UTC)
    for key, one in value.items():
        if isinstance(one, Mapping | list) and one and not _is_texts(one):
            text = json_text(one, indent=None)
            if len(text) > _LONGEST_CELL:
                text = json_text(one, indent=2).replace("\n", "\n" + " " * (longest + 2))
        elif isinstance(one, str) and _is_moment(key):
            text = f"{one} ({relative(one, now)})"
        else:
            text = _cell(key, one, now).replace("\n", "\n" + " " * (longest + 2))
        click.echo(f"{pad(plain(key), longest)}  {plain(text)}")


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    if not rows:
        say(empty)
        return
    columns = columns or list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    fields, titles = zip(*(_column(column) for column in columns), strict=True)
    now, is_terminal = datetime.now(UTC), sys.stdout.isatty()
    cells = [[plain(_cell(f, _at(row, f), now).replace("\n", " ")) for f in fields] for row in rows]
    widths = _widths(titles, cells)
    columns_left = shutil.get_terminal_size().columns
    if is_terminal and _total(widths) > columns_left:
        # The beginning of an id is enough for every command.
        cells = [[_ID.sub(r"\1", cell) for cell in line] for line in cells]
        widths = _narrowed(_widths(titles, cells), columns_left)
    colour = has_colour(sys.stdout)
    click.echo(click.style(_line(titles, widths), dim=True), color=colour)
    for line in cells:
        styled = (click.style(text, fg=_COLOURS.get(text.rstrip())) for text in _padded(line, widths))
        click.echo("  ".join(styled) if colour else _line(line, widths), color=colour)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_padded(cells, widths)).rstrip()


def _padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (pad(fit(cell, columns), columns) for cell, columns in zip(cells, widths, strict=True))


def _widths(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width, column)) for column in zip(titles, *cells, strict=True)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _narrowed(widths: list[int], terminal: int) -> list[int]:
    """Return widths that fit the terminal: the widest columns give way, but the first, which has the ids."""
    # Each step takes one column away, so a text of megabytes would take millions of them.
    widths = [widths[0], *(min(columns, terminal) for columns in widths[1:])]
    while len(widths) > 1 and _total(widths) > terminal:
        widest = max(range(1, len(widths)), key=widths.__getitem__)
        if widths[widest] <= 8:
            break
        widths[widest] -= 1
    return widths


def _column(column: str) -> tuple[str, str]:
    """Return field and title."""
    field, _, title = column.partition(":")
    return field, title or field.removesuffix("_at").replace("_", " ").upper()


def shown(value: Any) -> str:
    """Return a value as a table shows it."""
    return _cell("", value, datetime.now(UTC))


def _cell(field: str, value: Any, now: datetime) -> str:
    match value:
        case None | [] | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case str() if _is_moment(field):
            return relative(value, now)
        case int() | float() if field.endswith("duration"):
            return short_duration(value / 1000)
        case int() if field == "size":
            return short_size(value)
        case list() if _is_texts(value):
            return ", ".join(value)
        case Mapping() | list():
            return json_text(value, indent=None)
        case _:
            return str(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_moment(field: str) -> bool:
    return field.endswith("_at") or field in _MOMENTS
