"""Filters of all lists: each leaves out what does not fit."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from flowrunner.api.execution_filters import _terms_of
from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.http.requests import moment_of
from flowrunner.api.server import ROUTERS
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.labels import MAX_TERMS
from support.client import Client

PAGING: Final = {"limit", "offset", "cursor", "count", "after"}
# Parameters that leave nothing out.
SHAPES: Final = {"sort", "view", "wait", "buckets", "against", "flows"}
# It leaves out what another execution has started, and that one stays: `test_executions_api`.
LEAVES_SOME: Final = {"parent"}
LINES: Final = "application/x-ndjson"
FLOW: Final = """
inputs: {x: {type: string, searchable: true}}
triggers: {yearly: {type: schedule, cron: "0 0 1 1 *", input: {x: a}}}
nodes: {say: {type: log, params: {message: Hello}}}
"""
# A value of each parameter that nothing of the account in the test has.
NONE_HAS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("flow_id", "flow", "error_type", "node", "trigger", "rerun_of", "parent_id", "job", "name", "q", "tag"),
        "none",
    ),
    **dict.fromkeys(
        ("actor", "workspace_id", "action", "object_kind", "object_id", "scope", "step", "namespace", "prefix"), "none"
    ),
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
            yield from ((path, name, LINES in content) for name in names if name not in PAGING | SHAPES | LEAVES_SOME)


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
    assert account.put("/api/v1/store/entry?key=k", {"value": 1}).status == 201
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


NOW: Final = datetime(2027, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00.5+02:00", datetime(2027, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("1970-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1970-01-01T00:00:00+14:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("8999-12-31T23:59:59-12:00", datetime(9000, 1, 1, 11, 59, 59, tzinfo=UTC)),
        ("-24h", NOW - timedelta(days=1)),
        (None, None),
    ],
)
def test_a_moment_has_a_time_zone_or_is_a_day_or_a_time_ago(text: str | None, moment: datetime | None) -> None:
    assert moment_of("since", text, now=NOW) == moment


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2027-01-31T12:00:00", "has no time zone"), ("2027-01-31T12", "has no time zone"),
        ("2027-W04-7", "has no time zone"), ("9000-01-01", "in a year from 1970 to 8999"),
        ("1969-12-31T23:59:59Z", "in a year from 1970 to 8999"), ("9999-12-31T23:59:59-12:00", "in a year from 1970"),
        ("-24", "must be a duration such as -24h"), ("24h", "must be a moment such as"), ("", "must be a moment such"),
        ("2027-02-29", "must be a moment such as"),
    ],
)  # fmt: skip
def test_what_is_no_moment_is_rejected_with_what_it_lacks(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        moment_of("since", text, now=NOW)


def test_a_plus_that_an_address_has_made_a_blank_is_explained() -> None:
    with pytest.raises(InvalidInput) as raised:
        moment_of("since", "2027-01-31T12:00:00 02:00")

    assert [fault.hint for fault in raised.value.faults] == ["write + as %2B in an address"]


@pytest.mark.parametrize(
    ("labels", "inputs", "job"), [(MAX_TERMS, 0, None), (1, MAX_TERMS - 1, None), (MAX_TERMS - 1, 0, "j")]
)
def test_as_many_labels_and_inputs_as_can_be_looked_up_are_combined_and_a_job_is_one_of_them(
    labels: int, inputs: int, job: str | None
) -> None:
    texts = [f"l{n}:v" for n in range(labels)]
    values = [(f"i{n}", "v") for n in range(inputs)]

    assert len(_terms_of(texts, values, job, "")) == MAX_TERMS
    with pytest.raises(InvalidInput) as raised:
        _terms_of([*texts, "more:v"], values, job, "")
    assert [fault.path for fault in raised.value.faults] == ["label"]
