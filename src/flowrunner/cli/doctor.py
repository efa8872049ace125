"""Command `doctor`."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from flowrunner.bootstrap.doctor import Finding, examine
from flowrunner.cli.common import has_colour
from flowrunner.cli.text import plain
from flowrunner.settings import InvalidSettings, load_settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(flags: Mapping[str, str | None], environ: Mapping[str, str], *, output: str) -> bool:
    """Print the findings; return whether no check has failed."""
    try:
        found = asyncio.run(examine(load_settings(flags, environ)))
    except InvalidSettings as error:
        hint = "correct them; 'flowrunner serve --help' lists all"
        found = [Finding("settings", "fail", fault, hint) for fault in str(error).split("\n")]
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _print(found)
    return all(finding.state != "fail" for finding in found)


def _print(found: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in found)
    for finding in found:
        state = click.style(f"{finding.state:<4}", fg=_COLOURS[finding.state])
        click.echo(f"{state}  {finding.check:<{width}}  {plain(finding.message)}", color=has_colour(sys.stdout))
        if finding.hint:
            click.echo(f"{'':<{width + 8}}{plain(finding.hint)}")
