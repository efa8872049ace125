"""Logins: from a password or an API token to a context that has the token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import click

from flowrunner.cli.common import CommandFailed, common, may_ask, read_secret, say, warn
from flowrunner.cli.connection import (
    Target,
    find_target,
    open_client,
    put_login,
    refreshed,
    warn_of_plain_http,
)
from flowrunner.cli.contexts import Context, changing_contexts, check_room, load_contexts
from flowrunner.cli.exits import DENIED
from flowrunner.cli.output import show
from flowrunner.client import ApiError, Client, ClientError, UnauthorizedError
from flowrunner.client.requests import segment
from flowrunner.domain.whole_numbers import natural_number_of

_ON_A_WRONG_LOGIN: Final = (
    "check both; on the machine of the server, 'flowrunner account reset-password EMAIL' sets another password"
)

Way: TypeAlias = Literal["token", "paste", "browser", "password"]


def log_in(url: str | None, name: str | None, username: str | None, *, way: Way) -> None:
    if url is not None and common().url:
        raise click.UsageError("The server is named twice: give its URL once.")
    # A login that cannot be stored would stay open on the server.
    check_room()
    contexts = load_contexts()
    known = None
    if url is None:
        known = find_target(contexts)
        url = known.url
    workspace = common().workspace or (known.workspace if known else None)
    warn_of_plain_http(url)
    client = open_client(Target(url=url))
    url = client.url
    name = name or common().context or (known.name if known else None) or urlsplit(url).netloc
    if way == "password" and username is None and not client.get("/auth/methods")["password"]:
        way = "browser"
    answer: Mapping[str, Any] | None = None
    if way == "token":
        token = read_secret("API token")
        client = open_client(Target(url=url, token=token))
        account = client.get("/accounts/me")
        context = Context(url=url, workspace=workspace, token=token, account=account["email"])
    elif way != "password":
        from flowrunner.cli.browser_login import log_in_by_browser

        answer = log_in_by_browser(client, paste=way == "paste")
        account = open_client(Target(url=url, token=answer["token"])).get("/accounts/me")
        context = Context(url=url, workspace=workspace, account=account["email"])
    else:
        if username is None:
            if not may_ask():
                raise click.UsageError("Give the account with --username; the standard input has the password.")
            username = click.prompt("E-mail address", err=True)
        answer = _login(client, username)
        context = Context(url=url, workspace=workspace, account=username)
    # The user and the browser took their time: other commands may have exchanged the tokens of other contexts.
    with changing_contexts() as contexts:
        contexts.current = name
        if answer is None:
            contexts.put(name, context)
        else:
            put_login(contexts, name, context, answer)
    say(f"Logged in to {url} as {context.account}; the context is '{name}'")


def _login(client: Client, username: str) -> Mapping[str, Any]:
    """Log in with a password, and a code where the account has a second factor; the standard input has a line each."""
    password, _, code = read_secret("Password").partition("\n")
    try:
        return client.login(username, password)
    except ApiError as error:
        step = error.details.get("second_factor")
        if not isinstance(step, Mapping):
            if error.status != 401:
                raise
            raise CommandFailed(f"{error.message}\n  hint: {_ON_A_WRONG_LOGIN}", DENIED) from None
    if "passkey" in step.get("methods", ()):
        say("A passkey works in a browser: flowrunner login --browser")
    if not code and not may_ask():
        raise CommandFailed("The account has a second factor: its code is the second line of the input", DENIED)
    code = (code or str(click.prompt("Code of the second factor, or a recovery code", err=True))).strip()
    kind = "recovery_code" if natural_number_of(code) is None else "code"
    body = {"challenge": step["challenge"], kind: code}
    return client.request("POST", "/auth/second-factor", json=body).object()


def log_out() -> None:
    with changing_contexts() as contexts:
        target = find_target(contexts)
        if target.name is None or not target.is_stored:
            raise CommandFailed("There is no login to end: the token comes from elsewhere, or there is none", DENIED)
        if contexts.by_name[target.name].refresh_at is not None:
            # The token is forgotten in any case.
            try:
                with open_client(replace(target, workspace=None)) as client:
                    client.request("POST", "/auth/logout")
            except UnauthorizedError:
                pass  # it has ended already
            except ClientError as error:
                warn(f"the server keeps the login until it was not used for a day: {error}")
        contexts.forget_token(target.name)
    say(f"Logged out of {target.url}")


def print_account() -> None:
    contexts = load_contexts()
    target = refreshed(find_target(contexts), contexts)
    client = open_client(target)
    if target.workspace:
        workspace = client.get(f"/workspaces/{segment(target.workspace)}")
    else:
        # The one that requests reach without a choice is the first: the personal one, or that of the token.
        workspace = client.request("GET", "/workspaces", query={"limit": 1}).object()["workspaces"][0]
    show(
        {"url": client.url, "context": target.name, "account": client.get("/accounts/me"), "workspace": workspace},
        "url context account.email account.name account.role workspace.name workspace.role",
        name="account.email",
    )
