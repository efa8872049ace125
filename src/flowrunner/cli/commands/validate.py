"""Command `validate`."""

import os
import sys

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.lazy import quick_imports


@click.command(
    "validate",
    epilog=examples(
        "validate order.yaml",
        "validate --strict -o github flows/",
        "validate - < order.yaml",
        "validate --stored --data-dir /var/lib/flowrunner",
        note="Exits with 0 if there is no fault, with 6 if a flow has faults, and with 2 if a file cannot be read.",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="Format of the output; github: annotations for a pull request.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--secrets", metavar="FILE", help="A .env file: warn about secrets that it does not have.")
@click.option("--values", metavar="FILE", help="A YAML or JSON file: warn about configuration values that it lacks.")
@click.option("--stored", is_flag=True, help="Check the flows in the database instead, before an upgrade.")
@click.option("--data-dir", metavar="DIR", help="With --stored: directory of the database and the keys.")
def validate(
    files: tuple[str, ...],
    *,
    output: str,
    strict: bool,
    secrets: str | None,
    values: str | None,
    stored: bool,
    data_dir: str | None,
) -> None:
    """Check flows without a server: report every fault and warning with its place and a hint.

    FILE is a file, a directory (every .yaml and .yml in it that has 'nodes'), or - for the standard input.
    With --stored: check the flows of an installation with this version, and the revisions that running executions
    follow. The database is only read; a server of another version may use it meanwhile.
    """
    if stored == bool(files):
        raise click.UsageError("Name files, or give --stored: one of the two")
    if stored:
        for option, given in (("--secrets", secrets), ("--values", values)):
            if given is not None:
                raise click.UsageError(f"{option} is for files: a server knows what each workspace has")
        from flowrunner.cli.stored import validate_stored
        from flowrunner.settings import load_settings

        settings = load_settings({"data_dir": data_dir}, os.environ)
        sys.exit(validate_stored(settings, output=output, strict=strict))
    with quick_imports():
        from flowrunner.cli.validate import validate as run

    sys.exit(run(files, output=output, strict=strict, secrets_file=secrets, values_file=values))
