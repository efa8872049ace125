"""Advice in errors: people at the command line get options, not requests."""

from pathlib import Path
from uuid import uuid4

import pytest

from cli.servers import User
from flowrunner.api.http import guides
from flowrunner.cli.advice import _FOR_PROGRAMS, advice_on
from flowrunner.client.errors import ApiError
from flowrunner.domain.errors import SecondFactorRequired
from support.client import Client

GUIDES = [(status, guide) for status, guide in guides._BY_STATUS.items()] + [
    (403 if kind.__name__ == "SecondFactorMissing" else 422, guide)
    for kind, guide in guides._BY_ERROR.items()
    if guide not in guides._BY_STATUS.values()
]


@pytest.mark.parametrize(("status", "guide"), GUIDES, ids=lambda value: str(getattr(value, "hint", value))[:40])
def test_no_advice_of_the_server_for_programs_reaches_people(status: int, guide: guides.Guide) -> None:
    error = ApiError(status, "code", "message", hint=guide.hint, docs=guide.docs)

    advice = advice_on(error) or ""

    assert not _FOR_PROGRAMS.search(advice.replace("id of the request", "")), advice


def test_closer_advice_is_printed_as_it_is() -> None:
    assert advice_on(ApiError(409, "conflict", "m", hint="rename one of them", docs="/docs/api.md#errors")) == (
        "rename one of them"
    )
    assert advice_on(ApiError(429, "c", "m", hint="wait for the seconds in Retry-After", retry_after=7.0)) == (
        "repeat the command after 7 s"
    )


def test_a_login_without_its_second_factor_is_advised_to_give_the_code() -> None:
    guide = guides._BY_ERROR[SecondFactorRequired]

    advice = advice_on(ApiError(401, "second_factor_required", "m", hint=guide.hint, docs=guide.docs))

    assert advice == "log in again: 'flowrunner login' asks for the code of the second factor"


@pytest.fixture
def user(account: Client, tmp_path_factory: pytest.TempPathFactory) -> User:
    return User(account, tmp_path_factory.mktemp("advice"))


def test_a_role_that_lacks_a_right_is_named_with_the_one_that_has_it(user: User, admin: Client, tmp_path: Path) -> None:
    slug = f"roles-{uuid4().hex[:12]}"
    user("workspace", "create", "Roles", "--slug", slug)
    reader = User(admin.new_account(), tmp_path)
    user("workspace", "members", "add", slug, reader.client.email, "viewer")

    in_workspace = reader("flow", "create", "-", "--workspace", slug, stdin="nodes: {a: {type: log}}", code=4).stderr
    of_account = reader("account", "list", code=4).stderr

    assert "flowrunner: Your role in this workspace is 'viewer', and this needs 'editor'\n" in in_workspace
    assert "flowrunner: The installation role of this account is 'user', and this needs 'admin'\n" in of_account
    for told in (in_workspace, of_account):
        assert "'flowrunner workspace members list WORKSPACE' lists" in told
        assert "/docs/api.md#roles\n" in told


def test_the_limits_of_a_token_are_explained(user: User) -> None:
    token = user.json("token", "create", "reader", "--scope", "read")["token"]
    environment = {"FLOWRUNNER_TOKEN": token, "FLOWRUNNER_URL": user.client.url}

    lacking = user("secret", "set", "KEY", stdin="a-value-of-some-length", code=4, environment=environment).stderr
    never = user("token", "list", code=4, environment=environment).stderr
    agent = user("mcp", code=4, environment=environment).stderr

    assert "hint: make a token with that scope: flowrunner token create NAME --scope SCOPE" in lacking
    assert "hint: log in with 'flowrunner login'" in never
    assert "the scope 'mcp' (make a token with that scope" in agent


def test_a_url_with_the_path_of_a_page_is_recognised(user: User) -> None:
    for page, code in (("/api/v1", 5), ("/w/personal/flows", 1)):
        environment = {"FLOWRUNNER_URL": f"{user.client.url}{page}"}
        listed = user("flow", "list", code=code, environment=environment)
        login = user("login", environment["FLOWRUNNER_URL"], "--username", "a@example.com", stdin="-", code=code)

        for done in (listed, login):
            assert "hint: check the URL of the server, which must have no path" in done.stderr, done.stderr


def test_errors_name_options_of_the_command(user: User) -> None:
    unknown = user("executions", "get", "exec-nothing", code=5).stderr
    nobody = user("flow", "list", code=4, environment={"FLOWRUNNER_TOKEN": ""}).stderr
    elsewhere = user("flow", "list", "--workspace", "nowhere", code=5).stderr

    assert "hint: check the name or id, and the workspace: --workspace" in elsewhere
    assert "hint: log in with 'flowrunner login'" in nobody
    for text in (unknown, nobody, elsewhere):
        assert "Bearer" not in text
        assert "request" not in text


@pytest.mark.parametrize("command", ["secret", "value", "store"])
def test_what_is_not_there_is_answered_with_the_command_that_lists_what_is(user: User, command: str) -> None:
    told = user(command, "delete", "NOTHING", "-y", code=5).stderr

    assert f"hint: 'flowrunner {command} list' shows what there is; check the workspace, too: --workspace" in told
