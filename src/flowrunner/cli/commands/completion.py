"""Command `completion`."""

import click

from flowrunner.cli.examples import examples

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=examples("completion bash >> ~/.bashrc"))
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print a shell's completion script for commands, options, flows and executions.

    Names and ids come from the current server and are cached for a minute.
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root.command, {}, "flowrunner", "_FLOWRUNNER_COMPLETE").source())
