"""Commands `login`, `logout` and `whoami`."""

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.server_command import ServerCommand


@click.command(
    cls=ServerCommand,
    epilog=examples(
        "login https://flows.example.com --username ada@example.com", "login --with-token < token.txt",
        note="The token is kept in the keyring of the system if the package 'keyring' is installed, and otherwise in a "
        "file that only you can read.",
    ),
)  # fmt: skip
@click.argument("url", required=False)
@click.option("--name", metavar="CONTEXT", help="Name of the context; the name of the host by default.")
@click.option("--username", metavar="EMAIL", help="The account; it is asked for otherwise.")
@click.option("--with-token", is_flag=True, help="Read an API token instead of a password.")
def login(url: str | None, name: str | None, username: str | None, *, with_token: bool) -> None:
    """Log in to a server, and use it from now on.

    The password, and the code of a second factor, are asked for or read from the standard input, a line each. A login
    ends when it was not used for a day.
    """
    from flowrunner.cli.logins import log_in

    log_in(url, name, username, with_token=with_token)


@click.command(cls=ServerCommand, epilog=examples("logout"))
def logout() -> None:
    """Log out: the token of the context is forgotten, and that of a login ends on the server."""
    from flowrunner.cli.logins import log_out

    log_out()


@click.command(cls=ServerCommand, epilog=examples("whoami", "whoami -o json --fields account.email"))
def whoami() -> None:
    """Print the server, the account and the workspace that commands use."""
    from flowrunner.cli.logins import print_account

    print_account()
