"""Commands `login`, `logout` and `whoami`."""

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.server_command import ServerCommand


@click.command(
    cls=ServerCommand,
    epilog=examples(
        "login https://flows.example.com --browser", "login https://flows.example.com --username ada@example.com",
        "login --with-token < token.txt",
        note="The token is kept in the keyring of the system if the package 'keyring' is installed, and otherwise in a "
        "file that only you can read.",
    ),
)  # fmt: skip
@click.argument("url", required=False)
@click.option("--name", metavar="CONTEXT", help="Name of the context; the name of the host by default.")
@click.option("--username", metavar="EMAIL", help="The account; prompted for by default.")
@click.option("--browser", is_flag=True, help="Log in with a browser: by single sign-on, a passkey or a password.")
@click.option(
    "--paste", is_flag=True, help="Like --browser, with a browser on another machine: paste the code that it shows."
)
@click.option("--with-token", is_flag=True, help="Read an API token instead of a password.")
def login(
    url: str | None, name: str | None, username: str | None, *, browser: bool, paste: bool, with_token: bool
) -> None:
    """Log in to a server, and make it the current one.

    The password, and the code of a second factor, are asked for or read from the standard input, a line each. A login
    ends when it was not used for a day.
    """
    from flowrunner.cli.logins import Way, log_in

    if (browser or paste) + with_token + (username is not None) > 1:
        raise click.UsageError("Choose one way to log in: --browser, --paste, --username or --with-token.")
    way: Way = "token" if with_token else "paste" if paste else "browser" if browser else "password"
    log_in(url, name, username, way=way)


@click.command(cls=ServerCommand, epilog=examples("logout"))
def logout() -> None:
    """Log out: delete the stored token, and end the login on the server."""
    from flowrunner.cli.logins import log_out

    log_out()


@click.command(cls=ServerCommand, epilog=examples("whoami", "whoami -o json --fields account.email"))
def whoami() -> None:
    """Print the current account, server and workspace."""
    from flowrunner.cli.logins import print_account

    print_account()
