"""Filters of all lists: each leaves out what does not fit."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.http.requests import moment_of
from flowrunner.api.server import ROUTERS
from support.client import Client

PAGING: Final = {"limit", "offset", "cursor", "count", "after"}
# Parameters that leave nothing out.
SHAPES: Final = {"sort", "view", "wait", "buckets", "against", "flows"}
LINES: Final = "application/x-ndjson"
FLOW: Final = """
inputs: {x: {type: string, searchable: true}}
triggers: {yearly: {type: schedule, cron: "0 0 1 1 *", input: {x: a}}}
nodes: {say: {type: log, params: {message: Hello}}}
"""
# A value of each parameter that nothing of the account in the test has.
NONE_HAS: Final[dict[str, str]] = {
    **dict.fromkeys(("flow_id", "flow", "error_type", "node", "trigger", "rerun_of", "name", "q", "tag"), "none"),
    **dict.fromkeys(("actor", "account_id", "action", "object_kind", "object_id", "scope", "step"), "none"),
    **{"status": "cancelled", "unrepaired": "true", "label": "team:none", "input.*": "none", "type": "webhook"},
    **{"since": "2100-01-01T00:00:00Z", "until": "2000-01-01T00:00:00Z", "level": "error", "min_level": "error"},
    **{"outcome": "denied", "role": "viewer", "attempt": "99"},
}


def filters() -> Iterator[tuple[str, str, bool]]:
    """Yield the path of each list with each of its filters, and whether it is sent as lines, too."""
    document = openapi_document([route for router in ROUTERS for route in router.routes])
    for path, item in document["paths"].items():
        read = item.get("get", {})
        names = [one["name"] for one in read.get("parameters", ()) if one["in"] == "query"]
        if "limit" in names:
            content = read["responses"]["200"].get("content", {})
            yield from ((path, name, LINES in content) for name in names if name not in PAGING | SHAPES)


def entries(client: Client, path: str, query: dict[str, str], *, as_lines: bool) -> list[Any]:
    if as_lines:
        at = "&".join(f"{name}={value}" for name, value in query.items())
        reply = client.request("GET", f"{path}?{at}", headers={"Accept": LINES})
        assert reply.status == 200, reply
        return [json.loads(line) for line in reply.body.splitlines()]
    reply = client.get(path, **query)
    assert reply.status == 200, reply
    return next(value for value in reply.json.values() if isinstance(value, list))


def test_each_filter_of_each_list_leaves_out_what_does_not_fit(account: Client, admin: Client) -> None:
    flow = account.new_flow(FLOW, tags=["a"])
    ran = account.post(f"/api/v1/flows/{flow}/run", {"input": {"x": "a"}, "labels": {"team": "core"}})
    execution = ran.json["execution_id"]
    account.ended(execution)
    # The parts of paths, and what selects the entries of this test in lists of the whole installation.
    owner = {"workspaces": account.account_id, "executions": execution}
    of_all = {"/api/v1/audit": {"actor": account.account_id}, "/api/v1/accounts": {}}
    without_effect = []
    for template, name, has_lines in filters():
        kind = template.removeprefix("/api/v1/").partition("/")[0]
        path, base = template.replace("{id}", owner.get(kind, "")), of_all.get(template, {})
        client = admin if template in of_all else account
        value = {"input.x" if name == "input.*" else name: NONE_HAS[name]}
        for as_lines in (False, True) if has_lines else (False,):
            whole = entries(client, path, base, as_lines=as_lines)
            found = entries(client, path, {**base, **value}, as_lines=as_lines)
            # The server of the tests may have accounts of this role.
            fits = [one for one in found if template == "/api/v1/accounts" and one["role"] == value["role"]]
            assert whole, path
            if found != fits:
                without_effect.append((template, name, as_lines))

    assert without_effect == []


def test_a_day_begins_in_utc_wherever_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        day = moment_of("since", "2027-01-31")
    time.tzset()

    assert day == datetime(2027, 1, 31, tzinfo=UTC)
