"""Runs the tests that are written in flows, and tells how they went."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from xml.etree import ElementTree

import click

from flowrunner.cli.documents import Document, log_errors_only, no_text, plain, read_documents, wants_colour
from flowrunner.cli.faults import Studied, as_json, print_text
from flowrunner.domain.execution import Logged
from flowrunner.domain.flow_tests import FlowTest, dotted_path, read_tests
from flowrunner.domain.values import JSON
from flowrunner.domain.yaml_source import read_yaml
from flowrunner.offline.kit import open_kit
from flowrunner.rehearsal.memory import GivenFlow, GivenFlows
from flowrunner.rehearsal.paths import Edge, edges_of
from flowrunner.rehearsal.rehearse import Kit, Verdict, rehearse
from flowrunner.services.language import Language

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INVALID: Final = 6

_LOG_LINES: Final = 10


@dataclass(slots=True)
class Tested:
    """A document, and how its tests went.

    Attributes:
        given: None if the document has faults.
    """

    file: str
    faults: Sequence[Any]
    given: GivenFlow | None = None
    tests: Mapping[str, FlowTest] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def is_invalid(self) -> bool:
        return self.given is None

    @property
    def never_taken(self) -> Sequence[tuple[Edge, str]]:
        """Edges that no test went along, with where they lead."""
        if self.given is None:
            return ()
        seen = frozenset[Edge]().union(*(verdict.edges for verdict in self.verdicts))
        return [(edge, target) for edge, target in edges_of(self.given.flow).items() if edge not in seen]


def run_tests(names: Sequence[str], *, wanted: str | None, coverage: bool, output: str, junit: str | None) -> int:
    """Gives the exit code. Raises: click.UsageError."""
    documents, _ = read_documents(names)
    # What nodes that crash tell of themselves is among the problems of their tests.
    log_errors_only()
    printer = _Printer(is_text=output == "text", colour=wants_colour(sys.stdout.isatty(), os.environ))
    tested = asyncio.run(_test_all(documents, wanted, printer))
    if coverage:
        printer.coverage(tested)
    printer.summary(tested)
    if output == "json":
        click.echo(json.dumps(_report(tested, coverage=coverage), indent=2, ensure_ascii=False))
    if junit is not None:
        _write_junit(Path(junit), tested)
    ran = [verdict for one in tested for verdict in one.verdicts]
    if any(one.is_invalid for one in tested):
        return INVALID
    if not ran and wanted is not None:
        click.echo(f"flowrunner: no test has '{plain(wanted)}' in its name", err=True)
        return USAGE
    return OK if all(verdict.has_passed for verdict in ran) else FAILED


async def _test_all(documents: Sequence[Document], wanted: str | None, printer: "_Printer") -> list[Tested]:
    flows = GivenFlows()
    async with open_kit() as (language, kit):
        tested = [await _read(language, document, flows) for document in documents]
        for one in tested:
            await _test(one, wanted, flows, kit, printer)
    return tested


async def _read(language: Language, document: Document, flows: GivenFlows) -> Tested:
    if document.text is None:
        return Tested(document.file, [no_text()])
    reading = await language.study(document.text)
    if reading.flow is None:
        return Tested(document.file, [fault for fault in reading.faults if not fault.is_warning])
    written = cast("Mapping[str, Any]", read_yaml(document.text).value)
    tests, _ = read_tests(reading.flow.tests, written["nodes"])
    return Tested(document.file, (), flows.add(reading.flow, written["nodes"]), tests)


async def _test(one: Tested, wanted: str | None, flows: GivenFlows, kit: Kit, printer: "_Printer") -> None:
    if one.given is None:
        printer.invalid(one)
        return
    chosen = [test for test in one.tests.values() if wanted is None or wanted in test.name]
    if chosen:
        printer.flow(one)
    for test in chosen:
        verdict = await rehearse(one.given, test, flows, kit)
        one.verdicts.append(verdict)
        printer.verdict(verdict)


# For people


@dataclass(frozen=True, slots=True)
class _Printer:
    is_text: bool
    colour: bool

    def say(self, line: str) -> None:
        if self.is_text:
            click.echo(line, color=self.colour)

    def flow(self, one: Tested) -> None:
        self.say(plain(one.file))

    def invalid(self, one: Tested) -> None:
        # Also where a program reads the results, people read what went wrong.
        colour = wants_colour(sys.stderr.isatty(), os.environ)
        print_text([Studied(one.file, one.faults)], colour=colour, err=True)

    def verdict(self, verdict: Verdict) -> None:
        mark = click.style("ok  ", fg="green") if verdict.has_passed else click.style("FAIL", fg="red")
        leapt = f", {_span(verdict.virtual_seconds)} leapt over" if verdict.virtual_seconds >= 1 else ""
        self.say(f"  {mark}  {plain(verdict.test.name)}  ({verdict.seconds * 1000:.0f} ms{leapt})")
        for line in _told(verdict):
            colour = {"+": "green", "-": "red"}.get(line[:1])
            self.say("          " + (click.style(plain(line), fg=colour) if colour else plain(line)))

    def coverage(self, tested: Sequence[Tested]) -> None:
        for one in tested:
            if one.given is None:
                continue
            total, never = len(edges_of(one.given.flow)), one.never_taken
            self.say(f"{plain(one.file)}: {total - len(never)} of {total} edges taken")
            for (path, action), target in never:
                self.say(plain(f"    never: {dotted_path(path)} --{action}--> {target}"))

    def summary(self, tested: Sequence[Tested]) -> None:
        verdicts = [verdict for one in tested for verdict in one.verdicts]
        failed = sum(not verdict.has_passed for verdict in verdicts)
        invalid = sum(one.is_invalid for one in tested)
        said = f"{len(verdicts) - failed} passed, {failed} failed" if verdicts else "no tests"
        if invalid:
            said += f", {invalid} of {len(tested)} flows invalid"
        click.echo(said, err=True)


def _told(verdict: Verdict) -> Sequence[str]:
    """Why a test failed, line by line."""
    if verdict.has_passed:
        return ()
    lines = [f"problem: {problem}" for problem in verdict.problems]
    for mismatch in verdict.mismatches:
        if len(mismatch.lines) == 1:
            lines.append(f"{mismatch.what}: {mismatch.lines[0]}")
        else:
            lines += [f"{mismatch.what}:", *mismatch.lines]
    grave = [event for event in verdict.events if isinstance(event, Logged) and event.level in ("warn", "error")]
    if grave:
        lines.append("its log:")
        lines += [f"  {line.level} {line.node or ''}: {line.message}" for line in grave[-_LOG_LINES:]]
    return [part for line in lines for part in line.split("\n")]


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


# For programs


def _report(tested: Sequence[Tested], *, coverage: bool) -> JSON:
    verdicts = [verdict for one in tested for verdict in one.verdicts]
    failed = sum(not verdict.has_passed for verdict in verdicts)
    return {
        "ok": not failed and not any(one.is_invalid for one in tested),
        "passed": len(verdicts) - failed,
        "failed": failed,
        "flows": [
            {
                "file": one.file,
                "faults": [as_json(fault) for fault in one.faults],
                "tests": [_verdict_as_json(verdict) for verdict in one.verdicts],
                **({"coverage": _coverage_as_json(one)} if coverage and one.given is not None else {}),
            }
            for one in tested
        ],
    }


def _verdict_as_json(verdict: Verdict) -> JSON:
    return {
        "name": verdict.test.name,
        "ok": verdict.has_passed,
        "status": verdict.status,
        "seconds": round(verdict.seconds, 4),
        "virtual_seconds": verdict.virtual_seconds,
        "problems": list(verdict.problems),
        "mismatches": [{"what": m.what, "expected": m.expected, "actual": m.actual} for m in verdict.mismatches],
    }


def _coverage_as_json(one: Tested) -> JSON:
    assert one.given is not None, "asked of flows without faults"
    total, never = len(edges_of(one.given.flow)), one.never_taken
    return {
        "edges": total,
        "taken": total - len(never),
        "never": [{"node": dotted_path(path), "action": action, "target": target} for (path, action), target in never],
    }


def _write_junit(path: Path, tested: Sequence[Tested]) -> None:
    """Raises: click.UsageError."""
    root = ElementTree.Element("testsuites")
    for one in tested:
        failed = sum(not verdict.has_passed for verdict in one.verdicts)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(one.file),
            tests=str(max(len(one.verdicts), int(one.is_invalid))),
            failures=str(failed),
            errors=str(int(one.is_invalid)),
            time=f"{sum(verdict.seconds for verdict in one.verdicts):.3f}",
        )
        if one.is_invalid:
            case = ElementTree.SubElement(suite, "testcase", name="the flow is valid", classname=_xml(one.file))
            lines = [f"{one.file}:{f.line}:{f.column}: {f.code}: {f.message}" for f in one.faults]
            ElementTree.SubElement(case, "error", message="the flow is invalid").text = _xml("\n".join(lines))
        for verdict in one.verdicts:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                name=_xml(verdict.test.name),
                classname=_xml(one.file),
                time=f"{verdict.seconds:.3f}",
            )
            if not verdict.has_passed:
                what = verdict.problems or [f"not as expected: {m.what}" for m in verdict.mismatches]
                failure = ElementTree.SubElement(case, "failure", message=_xml("; ".join(what)))
                failure.text = _xml("\n".join(_told(verdict)))
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None


def _xml(text: str) -> str:
    """The text without characters that XML has no form for."""
    return "".join(c for c in plain(text) if c in "\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe"))
