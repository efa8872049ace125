"""Command `fmt`: format the documents of flows."""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from flowrunner.cli.common import has_colour, say
from flowrunner.cli.documents import STDIN, STDIN_NAME, SourceFile, no_text, read_documents, says_skipped
from flowrunner.cli.exits import FAILED, INVALID, OK
from flowrunner.cli.faults import ValidationReport, print_text
from flowrunner.cli.flow_files import replace_file
from flowrunner.cli.text import plain
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Fault, InvalidFlow
from flowrunner.language.yaml_format import CannotFormat, format_yaml


def fmt(names: Sequence[str], *, checks: bool, shows_diff: bool) -> int:
    """Format files, or only report what would change; return the exit code. Raises: click.UsageError."""
    documents, skipped = read_documents(names)
    changed: list[str] = []
    faulty: list[ValidationReport] = []
    for document in documents:
        formatted, faults = _formatted(document)
        if formatted is None or document.text is None:
            faulty.append(ValidationReport(document.file, faults))
            continue
        if formatted != document.text:
            changed.append(document.file)
        _put_out(document.file, document.text, formatted, checks=checks, shows_diff=shows_diff)
    print_text(faulty, colour=has_colour(sys.stderr), err=True)
    would = "would be " if checks or shows_diff else ""
    rest = f", {len(faulty)} with faults left as they are" if faulty else ""
    rest += says_skipped(len(skipped))
    if would or list(names) != [STDIN]:
        say(f"{counted(len(documents), 'flow')}: {len(changed)} {would}formatted{rest}")
    if faulty:
        return INVALID
    return FAILED if changed and would else OK


def _formatted(document: SourceFile) -> tuple[str | None, Sequence[Fault]]:
    """Return the document as formatted, or None and why it cannot be."""
    if document.text is None:
        return None, [no_text()]
    try:
        return format_yaml(document.text), ()
    except InvalidFlow as error:
        return None, error.faults
    except CannotFormat as error:
        return None, [Fault(path="", code="format", message=str(error), line=1, column=1)]


def _put_out(file: str, text: str, formatted: str, *, checks: bool, shows_diff: bool) -> None:
    """Write or print one document, its diff, or its name. Raises: click.UsageError."""
    if shows_diff:
        lines = difflib.unified_diff(
            text.splitlines(keepends=True), formatted.splitlines(keepends=True), f"{file}", f"{file} (formatted)"
        )
        for line in lines:
            click.echo(plain(line.removesuffix("\n")))
    elif file == STDIN_NAME and not checks:
        click.echo(formatted, nl=False)
    elif formatted != text:
        click.echo(plain(file))
        if not checks:
            # Of a link the target is written.
            replace_file(Path(file).resolve(), formatted.encode())
