"""Command `run --local`: run one flow in this process."""

import asyncio
import difflib
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import click

from flowrunner.api.event_messages import message_of
from flowrunner.cli.common import has_colour, warn
from flowrunner.cli.config_files import read_config
from flowrunner.cli.documents import SourceFile, check_read_once, is_directory, no_text, read_documents
from flowrunner.cli.exits import CANCELLED, EXECUTION_FAILED, INTERRUPTED, INVALID, OK
from flowrunner.cli.faults import ValidationReport, print_text
from flowrunner.cli.inputs import pairs, read_inputs
from flowrunner.cli.live import PlainLines
from flowrunner.cli.output import show_value
from flowrunner.cli.secrets import given_secrets
from flowrunner.cli.text import plain
from flowrunner.cli.validate import WRITE_THEM
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.events import Completed, Event, Failed
from flowrunner.domain.flow import Graph
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.flowtest.local_runner import Answers, ApprovalAnswer, LocalRunner
from flowrunner.flowtest.memory import GivenFlow, GivenFlows
from flowrunner.language.yaml_source import read_yaml
from flowrunner.local.runner import open_local_runner
from flowrunner.local.runtime import open_runtime
from flowrunner.logs import configure_logging
from flowrunner.ports.journal import Recorded
from flowrunner.services.flow_reader import missing_names
from flowrunner.services.language import Language
from flowrunner.services.secrets import MIN_VALUE_CHARACTERS
from flowrunner.settings import Settings, load_settings

_HINTS: Final = {
    "egress.forbidden": "If the flow may reach it, open its range: --egress-allow 127.0.0.0/8,10.1.0.0/16",
    "flow.not_found": "Name the file of that flow too: --with FILE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arguments:
    """Arguments of the command line, except the flows."""

    inputs: Sequence[str]
    params: Sequence[str]
    secrets: Mapping[str, str]
    config: Mapping[str, JSON]
    answers: Answers
    settings: Settings
    quiet: bool


class Progress:
    """Printer of what executions do, a line for each event. Recorded events hold no secrets."""

    def __init__(self, *, quiet: bool, colour: bool) -> None:
        self._quiet = quiet
        self._colour = colour
        self._lines: dict[ExecutionId, PlainLines] = {}

    def watch(self, id: ExecutionId, records: Sequence[Recorded]) -> None:
        if self._quiet:
            return
        lines = self._lines.get(id)
        if lines is None:
            # Child executions are numbered.
            number = len(self._lines)
            lines = PlainLines(colour=self._colour, prefix=f"[{number}] " if number else "")
            self._lines[id] = lines
        for record in records:
            lines.add(message_of(id, record))


def run_locally(
    file: str,
    *,
    others: Sequence[str],
    inputs: Sequence[str],
    params: Sequence[str],
    secrets_file: str | None,
    values_file: str | None,
    approve: Sequence[str],
    reject: Sequence[str],
    signals: Sequence[str],
    egress_allow: str | None,
    quiet: bool,
) -> int:
    """Run a flow; return the exit code. Raises: click.UsageError, InvalidSettings, Unavailable."""
    if is_directory(file):
        raise click.UsageError(f"--local takes one flow, and {file} is a directory. Flows it starts come by --with.")
    check_read_once(file, *others, *inputs)
    settings = load_settings({"egress_allow": egress_allow}, os.environ)
    # Events of the server's log are printed only if the user sets another log level.
    configure_logging(replace(settings, log_level="warning") if settings.log_level == "info" else settings)
    given = _Arguments(
        inputs=inputs,
        params=params,
        secrets=given_secrets(secrets_file, os.environ),
        config={} if values_file is None else read_config(values_file, "--values: "),
        answers=_answers(approve, reject, signals),
        settings=settings,
        quiet=quiet,
    )
    return asyncio.run(_run((file, *others), given))


def _answers(approve: Sequence[str], reject: Sequence[str], signals: Sequence[str]) -> Answers:
    approvals: dict[str, ApprovalAnswer] = {}
    for option, approved, written in (("--approve", True, approve), ("--reject", False, reject)):
        for node, data in pairs(option, written).items():
            if node in approvals:
                raise click.UsageError(f"'{plain(node)}' is approved and rejected: give one of them")
            approvals[node] = ApprovalAnswer(approved, data[-1])
    return Answers(signals=pairs("--signal", signals), approvals=approvals)


async def _run(files: Sequence[str], given: _Arguments) -> int:
    documents, _ = read_documents(files)
    flows, progress = GivenFlows(), Progress(quiet=given.quiet, colour=has_colour(sys.stderr))
    async with open_runtime(script_workers=given.settings.script_workers) as (language, runtime):
        read = [await _read(language, document, flows, given) for document in documents]
        first = read[0]
        if first is None or None in read:
            return INVALID
        _check_answers(given.answers, [one for one in read if one is not None])
        _warn_of_short_secrets(given.secrets)
        input = read_inputs(given.inputs, given.params, first.flow.inputs or {})
        async with open_local_runner(
            runtime, flows, given.secrets, given.config,
            answers=given.answers, egress_allow=given.settings.egress_allow, watch=progress.watch,
        ) as runner:  # fmt: skip
            try:
                events, was_interrupted = await _until_ended(runner, first, input)
            except InvalidInput as error:
                for fault in error.faults:
                    hint = f" ({fault.hint})" if fault.hint else ""
                    click.echo(plain(f"flowrunner: {fault.path}: {fault.message}{hint}"), err=True)
                return INVALID
    return _print_end(events[-1], runner.unanswered, was_interrupted=was_interrupted)


async def _read(language: Language, document: SourceFile, flows: GivenFlows, arguments: _Arguments) -> GivenFlow | None:
    """Return the flow, or None if it has faults. Print the faults, and warn about missing secrets and values."""
    given, faults = None, [no_text()]
    if document.text is not None:
        reading = await language.study(document.text)
        if reading.flow is not None:
            written = cast("Mapping[str, Any]", read_yaml(document.text).value)
            given = flows.add(reading.flow, written["nodes"])
            faults = [*missing_names(reading, arguments.secrets, arguments.config, WRITE_THEM)]
        else:
            faults = [fault for fault in reading.faults if not fault.is_warning]
    print_text([ValidationReport(document.file, faults)], colour=has_colour(sys.stderr), err=True)
    return given


def _check_answers(answers: Answers, flows: Iterable[GivenFlow]) -> None:
    nodes = {name: type for given in flows for name, type in _types(given.flow)}
    for name in answers.approvals:
        if nodes.get(name) != "approval":
            known = [node for node, type in nodes.items() if type == "approval"]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"those that do: {', '.join(known) or 'none'}"
            raise click.UsageError(f"No node '{plain(name)}' asks for an approval; {plain(hint)}")


def _types(graph: Graph) -> Iterator[tuple[str, str]]:
    for name, node in graph.nodes.items():
        yield name, node.type
        for inner in node.child_scopes.values():
            yield from _types(inner)


def _warn_of_short_secrets(secrets: Mapping[str, str]) -> None:
    for name, value in secrets.items():
        if len(value) < MIN_VALUE_CHARACTERS:
            warn(f"the secret '{name}' has fewer than {MIN_VALUE_CHARACTERS} characters: it will not be hidden")


async def _until_ended(
    runner: LocalRunner, given: GivenFlow, input: Mapping[str, JSON]
) -> tuple[Sequence[Event], bool]:
    """Return the events of the flow, and whether it was interrupted. A second interrupt ends the process."""
    was_interrupted = False
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        nonlocal was_interrupted
        if was_interrupted:
            os._exit(INTERRUPTED)
        was_interrupted = True
        click.echo("flowrunner: cancelling; once more to stop at once", err=True)
        runner.cancel("interrupted")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        events = await runner.run(given, input)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return events, was_interrupted


def _print_end(last: Event, unanswered: Sequence[Mapping[str, Any]], *, was_interrupted: bool) -> int:
    match last:
        case Completed(result=result):
            show_value(result)
            return OK
        case Failed(error=error, step=step):
            where = "" if step is None else f" at {step}"
            hint = f"\n  {_HINTS[error.type]}" if error.type in _HINTS else ""
            click.echo(plain(f"flowrunner: the flow failed{where}: {error.type}: {error.message}{hint}"), err=True)
            return EXECUTION_FAILED
        case _:
            reason = getattr(last, "reason", "")
            lines = [f"flowrunner: the flow was cancelled: {reason}", *filter(None, map(_unanswered, unanswered))]
            click.echo(plain("\n".join(lines)), err=True)
            return INTERRUPTED if was_interrupted else CANCELLED


def _unanswered(wait: Mapping[str, Any]) -> str | None:
    match wait:
        case {"type": "signal", "step": step, "key": key}:
            return f"  {step} waits for the signal '{key}'. Give it: --signal '{key}=JSON'"
        case {"type": "approval", "step": step, "node": node, "prompt": prompt}:
            return f'  {step} waits for an approval: "{prompt}". Answer: --approve {node} or --reject {node}'
        case _:
            return None
