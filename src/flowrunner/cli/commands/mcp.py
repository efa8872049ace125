"""Command `mcp`."""

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.server_command import ServerCommand


@click.command(
    cls=ServerCommand,
    epilog=examples(
        "mcp --url https://flows.example.com --token @token.txt",
        note="The token is an API token with the scope 'mcp'.",
    ),
)
def mcp() -> None:
    """Connect an agent that speaks MCP over standard input and output to a server.

    An agent starts this command itself. It forwards requests from the standard input to the server, and writes the
    answers to the standard output.
    """
    from flowrunner.cli.mcp_bridge import run

    run()
