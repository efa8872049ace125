"""Tells what is wrong with flow documents, without a server."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from flowrunner.cli.documents import Document, log_errors_only, no_text, read_documents, wants_colour
from flowrunner.cli.faults import Studied, print_github, print_json, print_text
from flowrunner.offline.language import open_language
from flowrunner.services.language import Language

OK: Final = 0
INVALID: Final = 6


def validate(names: Sequence[str], *, output: str, strict: bool) -> int:
    """Gives the exit code. Raises: click.UsageError."""
    documents, left_out = read_documents(names)
    found = asyncio.run(_study_all(documents))
    match output:
        case "json":
            print_json(found, strict=strict)
        case "github":
            print_github(found)
        case _:
            print_text(found, colour=wants_colour(sys.stdout.isatty(), os.environ))
    errors, warnings = sum(s.errors for s in found), sum(s.warnings for s in found)
    click.echo(_summary(len(found), errors, warnings, left_out), err=True)
    return INVALID if errors or (strict and warnings) else OK


async def _study_all(documents: Sequence[Document]) -> list[Studied]:
    async with open_language(before_scripts=log_errors_only) as language:
        return [await study(language, document) for document in documents]


async def study(language: Language, document: Document) -> Studied:
    if document.text is None:
        return Studied(document.file, [no_text()])
    reading = await language.study(document.text)
    return Studied(document.file, reading.faults)


def _summary(files: int, errors: int, warnings: int, left_out: int) -> str:
    def count(number: int, what: str) -> str:
        return f"{number} {what}" if number == 1 else f"{number} {what}s"

    said = f"{count(files, 'flow')}: {count(errors, 'error')}, {count(warnings, 'warning')}"
    return said if not left_out else f"{said} ({count(left_out, 'file')} without 'nodes' left out)"
