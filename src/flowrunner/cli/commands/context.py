"""Command `context`."""

import click

from flowrunner.cli.common import common, say
from flowrunner.cli.completion import complete_contexts
from flowrunner.cli.contexts import Context, changing_contexts, load_contexts
from flowrunner.cli.examples import examples
from flowrunner.cli.server_command import ServerGroup


@click.group(cls=ServerGroup, epilog=examples("context use staging"))
def context() -> None:
    """Manage contexts. A context is a server, a workspace on it, and the token of a login."""


@context.command("list", short_help="List the contexts.", epilog=examples("context list"))
def list_() -> None:
    """List the contexts, without their tokens."""
    from flowrunner.cli.output import show

    contexts = load_contexts()
    show(
        [
            {
                "name": name, "is_current": name == contexts.current, "url": one.url, "workspace": one.workspace,
                "account": one.account, "is_logged_in": one.token is not None or one.is_in_keyring,
            }
            for name, one in sorted(contexts.by_name.items())
        ],
        "name is_current:CURRENT url workspace account is_logged_in:LOGIN",
        name="name",
        empty="There are no contexts yet: 'flowrunner login' makes one",
    )  # fmt: skip


@context.command(short_help="Make a context the current one.", epilog=examples("context use staging"))
@click.argument("name", shell_complete=complete_contexts)
def use(name: str) -> None:
    """Make a context the current one."""
    with changing_contexts() as contexts:
        contexts.check(name)
        contexts.current = name
    say(f"Commands now use {contexts.by_name[name].url}")


@context.command(short_help="Add or change a context.", epilog=examples("context add ci --url https://ci.example.com"))
@click.argument("name")
def add(name: str) -> None:
    """Add or change a context, with the server of --url and the --workspace.

    Another server needs another login.
    """
    from dataclasses import replace

    from flowrunner.cli.connection import Target, open_client, warn_of_plain_http

    address, slug = common().url, common().workspace
    if address is None:
        raise click.UsageError("Name the server: --url https://flows.example.com")
    url = open_client(Target(url=address)).url
    warn_of_plain_http(url)
    with changing_contexts() as contexts:
        if name in contexts.by_name and contexts.by_name[name].url == url:
            contexts.put(name, replace(contexts.get(name), workspace=slug))
        else:
            contexts.put(name, Context(url=url, workspace=slug))
        contexts.current = contexts.current or name
    say(f"Added '{name}'; log in with: flowrunner login --context {name}")


@context.command(short_help="Remove a context and its token.", epilog=examples("context remove staging"))
@click.argument("name", shell_complete=complete_contexts)
def remove(name: str) -> None:
    """Remove a context and its token. The login stays valid on the server; 'flowrunner logout' ends it."""
    with changing_contexts() as contexts:
        contexts.check(name)
        contexts.forget_token(name)
        del contexts.by_name[name]
        if contexts.current == name:
            contexts.current = None
    say(f"Removed '{name}'")
