"""Lists of which one row cannot be read: it hides and stops only itself."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from api.agents import message
from api.test_approvals_api import asking, started
from flowrunner import stored_json
from security.two_accounts import TwoAccounts, two_accounts_at
from support.databases import change, rows_of

RETURN: Final = "nodes: {a: {type: return}}"
# Rows that never change.
GUARDS: Final = {"executions": "executions_reject_change_after_end", "audit": "audit_rejects_update"}


class Rows:
    """Rows of a program, and what its lists show of them."""

    def __init__(self, accounts: TwoAccounts, path: Path) -> None:
        self.mara = accounts.mara
        self.path = path
        stored_json._report.cache_clear()

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        reply = await self.mara.request("POST", path, body, **headers)
        assert reply.status in (200, 201, 202), reply
        return reply.json

    async def listed(self, path: str) -> Sequence[Any]:
        reply = await self.mara.request("GET", path)
        assert reply.status == 200, reply
        (found,) = [value for value in reply.json.values() if isinstance(value, list)]
        return found

    def spoil(self, column: str, id: str | int, *, key: str = "id") -> None:
        """Make a value of a row one that is no JSON."""
        table, _, name = column.partition(".")
        if table in GUARDS:
            change(self.path, f"DROP TRIGGER {GUARDS[table]}")
        change(self.path, f"UPDATE {table} SET {name} = '{{' WHERE {key} = ?", id)


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    async with two_accounts_at(tmp_path) as accounts:
        yield Rows(accounts, tmp_path / "flowrunner.db")


async def test_a_chain_that_is_no_json_stops_no_save_and_the_next_one_of_its_flow_repairs_it(rows: Rows) -> None:
    def chained(name: str, *, inputs: int = 1) -> dict[str, Any]:
        trigger = {"type": "execution", "flow": "first", "input": {"n": inputs}}
        document = {"nodes": {"a": {"type": "return"}}, "triggers": {"t": trigger}}
        return {"name": name, "definition": json.dumps(document)}

    await rows.post("/api/v1/flows", {"name": "first", "definition": RETURN})
    broken = (await rows.post("/api/v1/flows", chained("broken")))["id"]
    ((trigger,),) = rows_of(rows.path, "SELECT id FROM triggers")
    rows.spoil("triggers.spec", trigger)

    with capture_logs() as logged:
        await rows.post("/api/v1/flows", chained("other"))
        shown = await rows.listed("/api/v1/triggers")
        again = await rows.mara.request("PUT", f"/api/v1/flows/{broken}", chained("broken", inputs=2))

    assert len(shown) == 2
    assert again.status == 200, again
    assert [spec for (spec,) in rows_of(rows.path, "SELECT spec FROM triggers") if spec == "{"] == []
    named = [(line["column"], line["id"]) for line in logged if line["event"] == "row.unreadable"]
    assert named == [("triggers.spec", trigger)]


async def test_a_callback_without_a_readable_template_is_listed_and_can_be_repaired(rows: Rows) -> None:
    body = {"url": "http://127.0.0.1:9/", "events": ["execution.failed"], "format": "template", "template": {"a": 1}}
    ids = [(await rows.post("/api/v1/callbacks", body))["id"] for _ in range(2)]
    rows.spoil("callbacks.template", ids[0])

    assert {each["id"] for each in await rows.listed("/api/v1/callbacks")} == {*ids}
    repaired = await rows.mara.request("PUT", f"/api/v1/callbacks/{ids[0]}", {"template": {"b": 2}})

    assert (repaired.status, repaired.json["template"]) == (200, {"b": 2})


async def test_a_delivery_that_cannot_be_read_is_listed(rows: Rows) -> None:
    body = {"url": "http://127.0.0.1:9/", "events": ["execution.failed"]}
    id = (await rows.post("/api/v1/callbacks", body))["id"]
    for _ in range(2):
        await rows.post(f"/api/v1/callbacks/{id}/test", None)
    deliveries = f"/api/v1/callbacks/{id}/deliveries"
    before = await rows.listed(deliveries)
    rows.spoil("callback_deliveries.details", before[0]["id"])

    assert [each["id"] for each in await rows.listed(deliveries)] == [each["id"] for each in before]


async def test_a_job_whose_errors_cannot_be_read_is_listed(rows: Rows) -> None:
    asked = {"action": "rerun", "filter": {"flow_id": "none"}}
    ids = [(await rows.post("/api/v1/executions:batch", asked))["id"] for _ in range(2)]
    rows.spoil("jobs.errors", ids[0])

    assert {each["id"] for each in await rows.listed("/api/v1/jobs")} == {*ids}


@pytest.mark.parametrize("column", ["executions.labels", "executions.log_counts"])
async def test_an_execution_is_listed_without_what_cannot_be_read(rows: Rows, column: str) -> None:
    flow = (await rows.post("/api/v1/flows", {"name": "F", "definition": RETURN}))["id"]
    ids = []
    for _ in range(2):
        run = await rows.post(f"/api/v1/flows/{flow}/run", {"labels": {"a": "b"}})
        ids.append(run["execution_id"])
        await rows.mara.ended(ids[-1])
    rows.spoil(column, ids[0])

    shown = {each["id"]: each for each in await rows.listed("/api/v1/executions")}

    field = {"executions.labels": "labels", "executions.log_counts": "logs"}[column]
    assert (field in shown[ids[0]], field in shown[ids[1]]) == (False, True)


async def test_an_approval_that_cannot_be_read_hides_no_other_one(rows: Rows) -> None:
    flow = (await rows.post("/api/v1/flows", {"name": "F", "definition": asking(prompt="Go?")}))["id"]
    ids = [await started(rows.mara, flow) for _ in range(2)]
    rows.spoil("executions.waiting_for", ids[0])

    assert [each["execution_id"] for each in await rows.listed("/api/v1/approvals")] == [ids[1]]


async def test_an_entry_of_the_audit_log_that_cannot_be_read_hides_no_other_one(rows: Rows) -> None:
    await rows.post("/api/v1/flows", {"name": "F", "definition": RETURN})
    before = await rows.listed("/api/v1/audit?limit=100")
    ((seq,),) = rows_of(rows.path, "SELECT max(seq) FROM audit")
    rows.spoil("audit.details", seq, key="seq")

    assert len(await rows.listed("/api/v1/audit?limit=100")) == len(before) > 2


async def test_a_tool_whose_inputs_cannot_be_read_hides_no_other_one(rows: Rows) -> None:
    for name in ("one", "two"):
        definition = f"metadata: {{name: {name}, mcp: true}}\n{RETURN}"
        await rows.post("/api/v1/flows", {"definition": definition})
    token = (await rows.post("/api/v1/tokens", {"name": "agent", "scopes": ["mcp", "read", "run"]}))["token"]
    rows.spoil("flows.tool_inputs", "one", key="name")

    rows.mara.token = token
    tools = (await rows.post("/mcp", message("tools/list")))["result"]["tools"]

    assert {tool["name"] for tool in tools if tool["name"].startswith("flow_")} == {"flow_two"}
