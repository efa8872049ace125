"""Options that all commands have which talk to a server, and their questions to the user."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

import click

from flowrunner.cli.exits import USAGE

if TYPE_CHECKING:
    from flowrunner.client import Answer

Complete = Callable[[click.Context, click.Parameter, str], list[str]]
F = TypeVar("F", bound=Callable[..., Any])

FORMATS: Final = ("table", "json", "yaml", "ndjson", "name")
_META: Final = "flowrunner.cli.common"
_PREFIX: Final = "common_"
_NONE_COMPLETED: Final[Mapping[str, Complete]] = {}


@dataclass(slots=True)
class Common:
    """The values of the common options; None where one is not given.

    Attributes:
        address: The server that the command talks to.
    """

    output: str | None = None
    fields: str | None = None
    query: str | None = None
    context: str | None = None
    url: str | None = None
    token: str | None = None
    workspace: str | None = None
    http_timeout: str | None = None
    no_color: bool = False
    no_input: bool = False
    quiet: bool = False
    verbose: bool = False
    address: str = ""

    @property
    def is_for_people(self) -> bool:
        """The output may have any form: neither another format than a table, nor fields, nor a query were chosen."""
        return self.output in (None, "table") and not (self.fields or self.query)


class CommonOption(click.Option):
    """Option that the help of each command names in one line, and `flowrunner options` describes."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return None

    @property
    def record(self) -> tuple[str, str]:
        record = super().get_help_record(click.Context(click.Command("options")))
        assert record is not None
        return record


def common() -> Common:
    """Return the common options of the command that runs."""
    found = click.get_current_context().meta.setdefault(_META, Common())
    assert isinstance(found, Common)
    return found


def common_options(completed: Mapping[str, Complete] = _NONE_COMPLETED) -> list[CommonOption]:
    """Return new options. Each can stand before a command and after it; the last one counts.

    Args:
        completed: What completes the values of options, by their names such as `--context`.
    """

    def remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        if value == "":
            # Otherwise a variable without a value would mean the workspace, the server or the token of the context.
            raise click.BadParameter("it is empty", ctx, option)
        # An absent option must not undo the one that stands before the command.
        if option.name is not None and value:
            setattr(ctx.meta.setdefault(_META, Common()), option.name.removeprefix(_PREFIX), value)

    def option(*names: str, **more: Any) -> CommonOption:
        # A prefix, because commands have parameters of the same names.
        own_name = f"{_PREFIX}{names[-1].removeprefix('--').replace('-', '_')}"
        more["shell_complete"] = completed.get(names[-1])
        return CommonOption((*names, own_name), expose_value=False, callback=remember, **more)

    def flag(*names: str, help: str) -> CommonOption:
        return option(*names, is_flag=True, help=help)

    return [
        option("-o", "--output", type=click.Choice(FORMATS), help="Format of the output; table by default."),
        option("--fields", metavar="A,B.C", help="Only these fields, as columns or as keys."),
        option("--query", metavar="EXPR", help="A JMESPath expression to apply to the JSON output."),
        option("--context", metavar="NAME", help="The context to use: 'flowrunner context list'."),
        option("--server", "--url", metavar="URL", help="The server; also FLOWRUNNER_URL."),
        option("--token", metavar="@FILE|-", help="An API token; also FLOWRUNNER_TOKEN."),
        option("--workspace", metavar="SLUG", help="The workspace to act in; also FLOWRUNNER_WORKSPACE."),
        option("--http-timeout", metavar="DURATION", help="Time limit of one request; 40s by default."),
        flag("--no-color", help="Disable colours; also NO_COLOR."),
        flag("--no-input", help="Never prompt; fail instead."),
        flag("-q", "--quiet", help="Print results, errors and warnings alone."),
        flag("-v", "--verbose", help="Log each request to the standard error."),
    ]


def check_query(ctx: click.Context) -> None:
    """Reject a `--query` that cannot be used, before the command has done its work. Raises: click.UsageError."""
    if (query := common().query) is None:
        return
    if common().fields:
        raise click.UsageError("--fields and --query contradict each other: select the fields by the query", ctx)
    import jmespath

    try:
        jmespath.compile(query)
    except jmespath.exceptions.JMESPathError as error:
        from flowrunner.cli.text import plain

        raise click.UsageError(f"--query: {plain(str(error))}", ctx) from None


def may_ask() -> bool:
    """Return whether somebody at a terminal can be asked."""
    return not common().no_input and sys.stdin.isatty()


def ask(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal only `--yes` answers. Raises: Abort, CommandFailed."""
    if yes:
        return
    if not may_ask():
        # The usage would not help: the command is well formed.
        why = "--no-input asks nothing" if common().no_input else "There is no terminal to ask on"
        raise CommandFailed(f"{question} {why}: give --yes to confirm", USAGE)
    click.confirm(question, abort=True, err=True)


def has_colour(stream: TextIO) -> bool:
    """Return whether what is printed to the stream has colours: on a terminal, unless an option or variable says no."""
    is_unwanted = common().no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_unwanted


def say(text: str) -> None:
    """Print a message for people."""
    if not common().quiet:
        from flowrunner.cli.text import plain

        click.echo(plain(text), err=True)


def say_message(answer: "Answer") -> None:
    """Print the message of an answer that has nothing else."""
    say(answer.object()["message"])


def warn(text: str) -> None:
    """Print a warning, also with `--quiet`: the command does what it warns of."""
    from flowrunner.cli.text import plain

    click.echo(f"flowrunner: warning: {plain(text)}", err=True)


def set_each(names: Collection[str], set_one: Callable[[str], object]) -> None:
    """Call a function with each name. If one call fails, warn which names are set before its error is raised."""
    done: list[str] = []
    try:
        for name in names:
            set_one(name)
            done.append(name)
    finally:
        if len(done) < len(names):
            left = [name for name in names if name not in done]
            # The first of them may be set: its answer is missing.
            warn(f"set: {', '.join(done) or 'none'}; not set, or unknown: {', '.join(left)}")


class CommandFailed(click.ClickException):
    """A reason for which a command cannot go on, with its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc] # click sets it so itself

    def show(self, file: Any = None) -> None:
        from flowrunner.cli.text import plain

        click.echo(f"flowrunner: {plain(self.message)}", file=file, err=True)


def unusable(message: str) -> CommandFailed:
    """Return the error of a file that is not what the command needs: its usage would not help."""
    return CommandFailed(message, USAGE)


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return why a text file cannot be read."""
    return (isinstance(error, OSError) and error.strerror) or "it is not UTF-8 text"


def read_secret(prompt: str, *, given: str | None = None, confirm: bool = False) -> str:
    """Return a secret of the user: from a prompt, from `@FILE`, or from the standard input. Raises: UsageError."""
    if given is not None and given.startswith("@"):
        try:
            with open(given[1:], encoding="utf-8") as file:
                return file.read().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{given[1:]} cannot be read: {why_unreadable(error)}") from None
    if given not in (None, "-"):
        raise click.UsageError(
            "A secret cannot be an argument, which other users can see: give @FILE, -, or nothing for a prompt."
        )
    if given == "-" or not sys.stdin.isatty():
        return sys.stdin.read().removesuffix("\n")
    if common().no_input:
        raise click.UsageError(f"{prompt}: --no-input forbids prompts. Give it on the standard input.")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


def yes_option(function: F) -> F:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")(function)


def dry_run_option(help: str) -> Callable[[F], F]:
    return click.option("--dry-run", is_flag=True, help=help)
