"""Command `validate --stored`: check the stored flows with this version."""

import asyncio

import click

from flowrunner.bootstrap.stored_flows import CheckedFlow, check_stored_flows, unknown_event_types
from flowrunner.cli.documents import log_errors_only
from flowrunner.cli.exits import INVALID, OK
from flowrunner.cli.faults import ValidationReport, is_accepted, print_reports
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Fault
from flowrunner.local.language import open_language
from flowrunner.settings import Settings


def validate_stored(settings: Settings, *, output: str, strict: bool) -> int:
    """Print the faults; return the exit code. Raises: FlowRunnerError, Unavailable."""
    checked, events = asyncio.run(_check_all(settings))
    found = [_as_document(flow) for flow in checked]
    if events:
        found.append(ValidationReport("running executions", [_unknown_event(*each) for each in events.items()]))
    print_reports(found, output=output, strict=strict)
    refused = [flow for flow in checked if any(not fault.is_warning for fault in flow.faults)]
    executions = sum(flow.stored.executions for flow in refused)
    verdict = (
        f"; this version would not save {len(refused)} of them, with {counted(executions, 'running execution')}"
        if refused
        else ": this version would save all of them"
    )
    click.echo(f"{counted(len(checked), 'stored flow or revision', 'stored flows and revisions')}{verdict}", err=True)
    return OK if is_accepted(found, strict=strict) else INVALID


async def _check_all(settings: Settings) -> tuple[list[CheckedFlow], dict[str, int]]:
    async with open_language(before_scripts=log_errors_only) as language:
        checked = [flow async for flow in check_stored_flows(settings, language)]
    return checked, await unknown_event_types(settings)


def _as_document(flow: CheckedFlow) -> ValidationReport:
    stored = flow.stored
    name = f"{stored.name} ({stored.id}, revision {stored.number}, {stored.account})"
    if flow.unreadable is None or not stored.executions:
        return ValidationReport(name, flow.faults)
    message = f"{counted(stored.executions, 'running execution')} would fail: {flow.unreadable}"
    hint = "let them end, or cancel them, before the upgrade"
    return ValidationReport(name, [Fault(path="", code="stored.unreadable", message=message, hint=hint), *flow.faults])


def _unknown_event(type: str, executions: int) -> Fault:
    return Fault(
        path="",
        code="stored.event",
        message=f"{counted(executions, 'execution has', 'executions have')} events of the type '{type}', "
        "which this version does not know",
        hint="let them end before the upgrade, or use the version that wrote them",
    )
