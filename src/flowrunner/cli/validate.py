"""Command `validate`: check flow documents without a server."""

import contextlib
import os
from collections.abc import Callable, Collection, Sequence
from typing import Final, Self

import click

from flowrunner.cli.config_files import read_config
from flowrunner.cli.documents import SourceFile, log_errors_only, no_text, read_documents, says_skipped
from flowrunner.cli.exits import INVALID, OK
from flowrunner.cli.faults import ValidationReport, is_accepted, print_reports
from flowrunner.cli.secrets import given_secrets
from flowrunner.domain.counted import counted
from flowrunner.domain.expression.script import Script, ScriptError
from flowrunner.local.reader import LazySandbox, flow_reader
from flowrunner.services.flow_reader import FlowReader, missing_names, with_script_faults

# Hints for a missing secret and for a missing configuration value.
WRITE_THEM: Final = (
    "set FLOWRUNNER_SECRET_{name}, or write it into the file that --secrets names",
    "write it into the file that --values names",
)


def validate(
    names: Sequence[str], *, output: str, strict: bool, secrets_file: str | None, values_file: str | None
) -> int:
    """Print the faults; return the exit code. Raises: click.UsageError, Unavailable."""
    secrets = None if secrets_file is None else given_secrets(secrets_file, os.environ).keys()
    config = None if values_file is None else read_config(values_file, "--values: ").keys()
    documents, skipped = read_documents(names)
    found = _study_all(documents, secrets, config)
    print_reports(found, output=output, strict=strict)
    errors, warnings = sum(s.errors for s in found), sum(s.warnings for s in found)
    click.echo(_summary(len(found), errors, warnings) + says_skipped(len(skipped)), err=True)
    return OK if is_accepted(found, strict=strict) else INVALID


class _ScriptChecks:
    """Syntax checks of JavaScript. The event loop and the sandbox start with the first script: most flows have none."""

    def __init__(self) -> None:
        self._exits = contextlib.ExitStack()
        self._check: Callable[[Sequence[Script]], Sequence[ScriptError | None]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._exits.close()

    def __call__(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        """Return the syntax error of each script. Raises: Unavailable."""
        if self._check is None:
            self._check = self._start()
        return self._check(scripts)

    def _start(self) -> Callable[[Sequence[Script]], Sequence[ScriptError | None]]:
        import asyncio

        runner = self._exits.enter_context(asyncio.Runner())
        sandbox = LazySandbox(log_errors_only)
        self._exits.callback(lambda: runner.run(sandbox.close()))
        return lambda scripts: runner.run(sandbox.check(scripts))


def _study_all(
    documents: Sequence[SourceFile], secrets: Collection[str] | None, config: Collection[str] | None
) -> list[ValidationReport]:
    reader = flow_reader()
    with _ScriptChecks() as check:
        return [_study(reader, check, document, secrets, config) for document in documents]


def _study(
    reader: FlowReader,
    check: _ScriptChecks,
    document: SourceFile,
    secrets: Collection[str] | None,
    config: Collection[str] | None,
) -> ValidationReport:
    if document.text is None:
        return ValidationReport(document.file, [no_text()])
    reading = reader.read(document.text)
    if reading.codes:
        reading = with_script_faults(reading, check([code.script for code in reading.codes]))
    missing = missing_names(reading, secrets, config, WRITE_THEM)
    faults = sorted([*reading.faults, *missing], key=lambda fault: (fault.line or 0, fault.column or 0))
    return ValidationReport(document.file, faults)


def _summary(files: int, errors: int, warnings: int) -> str:
    return f"{counted(files, 'flow')}: {counted(errors, 'error')}, {counted(warnings, 'warning')}"
