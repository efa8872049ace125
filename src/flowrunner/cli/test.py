"""Command `test`: run the tests in flows and print their results."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from flowrunner.cli.common import has_colour
from flowrunner.cli.documents import SourceFile, log_errors_only, no_text, read_documents
from flowrunner.cli.exits import FAILED, INVALID, OK, USAGE
from flowrunner.cli.faults import ValidationReport, as_json, print_text
from flowrunner.cli.junit import write_junit
from flowrunner.cli.tested import FlowTestReport, explain, results_of
from flowrunner.cli.text import json_text, plain
from flowrunner.domain.counted import counted
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.values import JSON
from flowrunner.flowtest.memory import GivenFlows
from flowrunner.flowtest.paths import edges_of
from flowrunner.flowtest.run_test import FlowTestResult, Runtime, run_flow_test
from flowrunner.language.flow_tests import dotted_path, read_tests
from flowrunner.language.yaml_source import read_yaml
from flowrunner.local.runtime import open_runtime
from flowrunner.services.language import Language


def run_tests(
    names: Sequence[str], *, wanted: str | None, coverage: bool, timeout: str, output: str, junit: str | None
) -> int:
    """Run the tests; return the exit code. Raises: click.UsageError, Unavailable."""
    try:
        most_seconds = parse_duration(timeout)
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from None
    documents, _ = read_documents(names)
    # Crashes of nodes are reported as problems of their tests, not in the log.
    log_errors_only()
    printer = _Printer(is_text=output == "text", colour=has_colour(sys.stdout))
    tested = asyncio.run(_test_all(documents, wanted, most_seconds, printer))
    if coverage:
        printer.coverage(tested)
    if output == "json":
        click.echo(json_text(_report(tested, coverage=coverage), indent=2))
    if junit is not None:
        write_junit(Path(junit), tested)
    printer.summary(tested, wanted)
    results = results_of(tested)
    if any(one.is_invalid for one in tested):
        return INVALID
    if not results:
        return USAGE
    return OK if all(result.has_passed for result in results) else FAILED


async def _test_all(
    documents: Sequence[SourceFile], wanted: str | None, most_seconds: float, printer: "_Printer"
) -> list[FlowTestReport]:
    flows = GivenFlows()
    async with open_runtime() as (language, runtime):
        # All flows are read first, because one may start another.
        tested = [await _read(language, document, flows) for document in documents]
        for one in tested:
            await _test(one, wanted, flows=flows, runtime=runtime, most_seconds=most_seconds, printer=printer)
    return tested


async def _read(language: Language, document: SourceFile, flows: GivenFlows) -> FlowTestReport:
    if document.text is None:
        return FlowTestReport(document.file, [no_text()])
    reading = await language.study(document.text)
    if reading.flow is None:
        return FlowTestReport(document.file, [fault for fault in reading.faults if not fault.is_warning])
    written = cast("Mapping[str, Any]", read_yaml(document.text).value)
    tests, _ = read_tests(reading.flow.tests, written["nodes"])
    return FlowTestReport(document.file, (), flows.add(reading.flow, written["nodes"]), tests)


async def _test(
    one: FlowTestReport,
    wanted: str | None,
    *,
    flows: GivenFlows,
    runtime: Runtime,
    most_seconds: float,
    printer: "_Printer",
) -> None:
    if one.given is None:
        printer.invalid(one)
        return
    chosen = [test for test in one.tests.values() if wanted is None or wanted in test.name]
    if chosen:
        printer.flow(one)
    for test in chosen:
        result = await run_flow_test(one.given, test, flows, runtime, most_seconds=most_seconds)
        one.results.append(result)
        printer.result(result)


# For people


@dataclass(frozen=True, slots=True)
class _Printer:
    """Printer of results for people."""

    is_text: bool
    colour: bool

    def line(self, text: str) -> None:
        if self.is_text:
            click.echo(text, color=self.colour)

    def flow(self, one: FlowTestReport) -> None:
        self.line(plain(one.file))

    def invalid(self, one: FlowTestReport) -> None:
        # Printed with the output for programs too, because people read the standard error.
        colour = has_colour(sys.stderr)
        print_text([ValidationReport(one.file, one.faults)], colour=colour, err=True)

    def result(self, result: FlowTestResult) -> None:
        mark = click.style("ok  ", fg="green") if result.has_passed else click.style("FAIL", fg="red")
        skipped = f", {_span(result.virtual_seconds)} skipped" if result.virtual_seconds >= 1 else ""
        self.line(f"  {mark}  {plain(result.test.name)}  ({result.seconds * 1000:.0f} ms{skipped})")
        for line in explain(result):
            colour = {"+": "green", "-": "red"}.get(line[:1])
            self.line("          " + (click.style(plain(line), fg=colour) if colour else plain(line)))

    def coverage(self, tested: Sequence[FlowTestReport]) -> None:
        for one in tested:
            if one.given is None:
                continue
            total, never = len(edges_of(one.given.flow)), one.never_taken
            taken = f"{total - len(never)} of {counted(total, 'edge')} taken" if total else "no edges to take"
            self.line(f"{plain(one.file)}: {taken}")
            for (path, action), target in never:
                self.line(plain(f"    never: {dotted_path(path)} --{action}--> {target}"))

    def summary(self, tested: Sequence[FlowTestReport], wanted: str | None) -> None:
        results = results_of(tested)
        failed = sum(not result.has_passed for result in results)
        invalid = sum(one.is_invalid for one in tested)
        if results or invalid:
            text = f"{len(results) - failed} passed, {failed} failed"
        elif wanted is not None:
            text = f"no test name contains '{plain(wanted)}'"
        else:
            text = "no tests: write them under the key 'tests' of a flow"
        if invalid:
            text += f"; {invalid} of {counted(len(tested), 'flow')} invalid"
        click.echo(text, err=True)


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


# For programs


def _report(tested: Sequence[FlowTestReport], *, coverage: bool) -> JSON:
    results = results_of(tested)
    failed = sum(not result.has_passed for result in results)
    return {
        "ok": bool(results) and not failed and not any(one.is_invalid for one in tested),
        "passed": len(results) - failed,
        "failed": failed,
        "flows": [
            {
                "file": one.file,
                "faults": [as_json(fault) for fault in one.faults],
                "tests": [_result_as_json(result) for result in one.results],
                **({"coverage": _coverage_as_json(one)} if coverage and one.given is not None else {}),
            }
            for one in tested
        ],
    }


def _result_as_json(result: FlowTestResult) -> JSON:
    return {
        "name": result.test.name,
        "ok": result.has_passed,
        "status": result.status,
        "path": list(result.trace.path),
        "handlers": list(result.trace.handlers),
        "seconds": round(result.seconds, 4),
        "virtual_seconds": result.virtual_seconds,
        "problems": list(result.problems),
        "mismatches": [{"what": m.what, "expected": m.expected, "actual": m.actual} for m in result.mismatches],
        "explanation": list(explain(result)),
    }


def _coverage_as_json(one: FlowTestReport) -> JSON:
    assert one.given is not None, "called only for flows without faults"
    total, never = len(edges_of(one.given.flow)), one.never_taken
    return {
        "edges": total,
        "taken": total - len(never),
        "never": [{"node": dotted_path(path), "action": action, "target": target} for (path, action), target in never],
    }
