"""Output of faults as text, as JSON, and as annotations of a pull request."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from flowrunner.cli.common import has_colour
from flowrunner.cli.text import json_text, plain
from flowrunner.domain.errors import Fault


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Document with its faults and warnings."""

    file: str
    faults: Sequence[Fault]

    @property
    def errors(self) -> int:
        return sum(not fault.is_warning for fault in self.faults)

    @property
    def warnings(self) -> int:
        return len(self.faults) - self.errors


def print_reports(found: Sequence[ValidationReport], *, output: str, strict: bool) -> None:
    """Print the faults in the form that ``output`` names. Args: strict: Warnings count as errors."""
    match output:
        case "json":
            _print_json(found, strict=strict)
        case "github":
            _print_github(found)
        case _:
            print_text(found, colour=has_colour(sys.stdout))


def is_accepted(found: Sequence[ValidationReport], *, strict: bool) -> bool:
    return not any(report.errors or (strict and report.warnings) for report in found)


def print_text(found: Sequence[ValidationReport], *, colour: bool, err: bool = False) -> None:
    """Print `file:line:column: error code: message` for each fault, and a line with the hint."""
    for report in found:
        for fault in report.faults:
            place = plain(f"{report.file}:{fault.line or 1}:{fault.column or 1}")
            kind = click.style("warning", fg="yellow") if fault.is_warning else click.style("error", fg="red")
            message = f"{place}: {kind} {fault.code}: {_message(fault)}"
            click.echo(message, color=colour, err=err)
            if fault.hint:
                click.echo(click.style(f"    hint: {plain(fault.hint)}", dim=True), color=colour, err=err)


def _print_json(found: Sequence[ValidationReport], *, strict: bool) -> None:
    document = {
        "ok": is_accepted(found, strict=strict),
        "errors": sum(report.errors for report in found),
        "warnings": sum(report.warnings for report in found),
        "files": [{"file": report.file, "faults": [as_json(fault) for fault in report.faults]} for report in found],
    }
    click.echo(json_text(document, indent=2))


def as_json(fault: Fault) -> dict[str, Any]:
    return {
        "severity": "warning" if fault.is_warning else "error",
        "path": fault.path,
        "line": fault.line,
        "column": fault.column,
        "code": fault.code,
        "message": fault.message,
        "hint": fault.hint,
    }


def _print_github(found: Sequence[ValidationReport]) -> None:
    """Print workflow commands, which GitHub shows beside the lines of the document."""
    for report in found:
        for fault in report.faults:
            kind = "warning" if fault.is_warning else "error"
            properties = {
                "file": report.file,
                "line": str(fault.line or 1),
                "col": str(fault.column or 1),
                "title": fault.code,
            }
            written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
            hint = f"\nhint: {fault.hint}" if fault.hint else ""
            click.echo(f"::{kind} {written}::{_data(_message(fault) + hint)}")


def _message(fault: Fault) -> str:
    return plain(f"{fault.path}: {fault.message}" if fault.path else fault.message)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
