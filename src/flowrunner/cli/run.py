"""Runs one flow in this process, without a server."""

import asyncio
import json
import os
import re
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import click

from flowrunner.cli.documents import STDIN, no_text, plain, read_documents, wants_colour
from flowrunner.cli.faults import Studied, print_text
from flowrunner.domain.errors import InvalidFlow, InvalidInput
from flowrunner.domain.execution import (
    Completed,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    Step,
)
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.domain.yaml_source import read_yaml
from flowrunner.logs import configure_logging
from flowrunner.offline.alone import open_alone
from flowrunner.offline.kit import open_kit
from flowrunner.ports import Recorded
from flowrunner.rehearsal.alone import Alone
from flowrunner.rehearsal.memory import GivenFlow, GivenFlows
from flowrunner.services.language import Language
from flowrunner.settings import Settings, load_settings

OK: Final = 0
FAILED: Final = 3
INVALID: Final = 6
CANCELLED: Final = 9
INTERRUPTED: Final = 130

SECRET_PREFIX: Final = "FLOWRUNNER_SECRET_"  # noqa: S105 # the start of a variable's name
_ENV_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
# Whoever reads along wants to see what runs, not everything that it carries.
_MOST_SHOWN: Final = 500


def run_locally(
    file: str,
    *,
    others: Sequence[str],
    input: str | None,
    params: Sequence[str],
    secrets_file: str | None,
    egress_allow: str | None,
    quiet: bool,
) -> int:
    """Gives the exit code. Raises: click.UsageError, InvalidSettings."""
    if STDIN in (file, *others) and input == STDIN:
        raise click.UsageError("The standard input can be read once.")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(SECRET_PREFIX)}
    settings = load_settings({"egress_allow": egress_allow}, environ)
    # What a server would tell of itself is of no interest here, unless somebody asks.
    configure_logging(replace(settings, log_level="warning") if settings.log_level == "info" else settings)
    secrets = _secrets(secrets_file, os.environ)
    given = _input(input)
    progress = _Progress(quiet=quiet)
    return asyncio.run(
        _run((file, *others), given, params=params, secrets=secrets, settings=settings, progress=progress)
    )


async def _run(
    files: Sequence[str],
    input: Mapping[str, JSON],
    *,
    params: Sequence[str],
    secrets: Mapping[str, str],
    settings: Settings,
    progress: "_Progress",
) -> int:
    documents, _ = read_documents(files)
    flows = GivenFlows()
    async with open_kit(script_workers=settings.script_workers) as (language, kit):
        read = [await _read(language, document.file, document.text, flows) for document in documents]
        first = read[0]
        if first is None or None in read:
            return INVALID
        values = {**input, **_params(params, first.flow)}
        async with open_alone(kit, flows, secrets, egress_allow=settings.egress_allow, watch=progress.watch) as alone:
            try:
                events, was_interrupted = await _until_ended(alone, first, values)
            except InvalidInput as error:
                for fault in error.faults:
                    hint = f" ({fault.hint})" if fault.hint else ""
                    click.echo(plain(f"flowrunner: {fault.path}: {fault.message}{hint}"), err=True)
                return INVALID
    return _tell(events[-1], was_interrupted=was_interrupted)


async def _read(language: Language, file: str, text: str | None, flows: GivenFlows) -> GivenFlow | None:
    faults = [no_text()]
    if text is not None:
        try:
            flow = await language.read(text)
            return flows.add(flow, cast("Mapping[str, Any]", read_yaml(text).value)["nodes"])
        except InvalidFlow as error:
            faults = list(error.faults)
    print_text([Studied(file, faults)], colour=wants_colour(sys.stderr.isatty(), os.environ), err=True)
    return None


async def _until_ended(alone: Alone, given: GivenFlow, input: Mapping[str, JSON]) -> tuple[Sequence[Event], bool]:
    """The events of the flow, and whether somebody has interrupted it. A second interrupt ends the process."""
    was_interrupted = False
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        nonlocal was_interrupted
        if was_interrupted:
            os._exit(INTERRUPTED)
        was_interrupted = True
        click.echo("flowrunner: cancelling; once more to stop at once", err=True)
        alone.cancel("interrupted")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        events = await alone.run(given, input)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return events, was_interrupted


def _tell(last: Event, *, was_interrupted: bool) -> int:
    match last:
        case Completed(result=result):
            click.echo(json.dumps(result, indent=2, ensure_ascii=False))
            return OK
        case Failed(error=error, step=step):
            where = "" if step is None else f" at {step}"
            click.echo(plain(f"flowrunner: the flow failed{where}: {error.type}: {error.message}"), err=True)
            return FAILED
        case _:
            reason = getattr(last, "reason", "")
            click.echo(plain(f"flowrunner: the flow was cancelled: {reason}"), err=True)
            return INTERRUPTED if was_interrupted else CANCELLED


# What flows in


def _input(given: str | None) -> Mapping[str, JSON]:
    if given is None:
        return {}
    try:
        if given == STDIN:
            text = sys.stdin.read()
        elif given.startswith("@"):
            text = Path(given[1:]).read_text(encoding="utf-8")
        else:
            text = given
        value = json.loads(text, parse_constant=_no_constant)
    except OSError as error:
        raise click.UsageError(f"--input: {given[1:]} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--input is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError('--input is a JSON object: {"name": "value"}')
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _params(params: Sequence[str], flow: Flow) -> Mapping[str, JSON]:
    """`name=value`: text where the flow asks for text, and else JSON where it is that."""
    values: dict[str, JSON] = {}
    for param in params:
        name, equals, text = param.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--param is name=value, and not '{plain(param)}'")
        schema = (flow.inputs or {}).get(name)
        if isinstance(schema, dict) and schema.get("type") == "string":
            values[name] = text
            continue
        try:
            values[name] = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            values[name] = text
    return values


def _secrets(path: str | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """From the environment and a file, which wins. Never from arguments: other users of the machine see those."""
    found = {
        name.removeprefix(SECRET_PREFIX): value for name, value in environ.items() if name.startswith(SECRET_PREFIX)
    }
    if path is not None:
        found |= read_env(Path(path))
    return {name: value for name, value in found.items() if name}


def read_env(path: Path) -> Mapping[str, str]:
    """The variables of a .env file: `NAME=value`, `NAME="value"`, comments.

    Raises:
        click.UsageError: If it cannot be read, or others can read it, or a line is something else.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise click.UsageError(f"--secrets: {path} cannot be read: {reason}") from None
    if mode & 0o077:
        raise click.UsageError(f"--secrets: others can read {path} (mode {mode:04o}): chmod 600 it")
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(line)
        if match is None:
            raise click.UsageError(f"--secrets: line {number} of {path} is not NAME=value")
        value = match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[match[1]] = value
    return found


# What happens meanwhile


class _Progress:
    """Prints what is recorded, a line an event. Secrets are hidden in all of it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._colour = wants_colour(sys.stderr.isatty(), os.environ)
        self._began: dict[tuple[ExecutionId, Step], datetime] = {}
        self._executions: list[ExecutionId] = []

    def watch(self, id: ExecutionId, records: Sequence[Recorded]) -> None:
        if self._quiet:
            return
        if id not in self._executions:
            self._executions.append(id)
        number = self._executions.index(id)
        for record in records:
            line = self._line(id, record)
            if line is not None:
                # The flows that a flow starts are told apart by their number.
                whose = "" if number == 0 else f"[{number}] "
                moment = record.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
                click.echo(f"{click.style(moment, dim=True)} {whose}{line}", err=True, color=self._colour)

    def _line(self, id: ExecutionId, record: Recorded) -> str | None:
        event = record.event
        match event:
            case Logged(level=level, message=message, node=node, data=data):
                more = "" if data is None else f" {json.dumps(data, ensure_ascii=False)}"
                said = plain(f"{node or 'flow'}: {message}{more}"[:_MOST_SHOWN])
                shade = {"warn": "yellow", "error": "red"}.get(level)
                return click.style(f"{level:5} {said}", fg=shade)
            case NodeStarted(attempt=attempt):
                step = Step(event.node, event.iteration, event.scope)
                self._began[id, step] = record.at
                again = "" if attempt == 1 else f", try {attempt}"
                return plain(f"start {step} ({event.node_type}{again})")
            case NodeCompleted(action=action):
                step = Step(event.node, event.iteration, event.scope)
                if event.skipped:
                    return plain(f"skip  {step}")
                seconds = (record.at - self._began.get((id, step), record.at)).total_seconds()
                went = "" if action == "default" else f" --{action}-->"
                return click.style(plain(f"done  {step}{went} in {seconds:.3f} s"), fg="green")
            case NodeFailed(retry_at=retry_at) if retry_at is not None:
                wait = (retry_at - record.at).total_seconds()
                return plain(f"retry {Step(event.node, event.iteration, event.scope)} in {wait:.3g} s")
            case NodeWaiting(until=until):
                step = Step(event.node, event.iteration, event.scope)
                what = event.about.get("type") if isinstance(event.about, dict) else None
                limit = "" if until is None else f" until {until.astimezone():%H:%M:%S}"
                return plain(f"wait  {step} ({what or 'delay'}){limit}")
            case _:
                return None
