"""Secrets whose values are words that the server itself records: they are hidden, and nothing depends on that."""

from pathlib import Path
from typing import Final

import pytest

from security.two_accounts import two_accounts_at, until

SECRETS: Final = "/api/v1/accounts/me/secrets"


async def test_s65_secrets_that_are_words_of_the_server_change_no_answer_that_it_records(tmp_path: Path) -> None:
    parent = "nodes: {call: {type: flow, params: {flow: child}, next: ask}, ask: {type: approval, params: {prompt: P}}}"
    async with two_accounts_at(tmp_path) as accounts:
        for key, value in (("ENDED", "completed"), ("ANSWERED", "approved"), ("GIVEN", "a-key-of-some-length")):
            made = await accounts.mara.request("POST", SECRETS, {"key": key, "value": value})
            assert made.status == 201, made
        child = {"name": "child", "definition": "nodes: {a: {type: return, params: {value: a-key-of-some-length}}}"}
        assert (await accounts.mara.request("POST", "/api/v1/flows", child)).status == 201
        id = (await accounts.mara.run(await accounts.mara.flow(parent))).json["execution_id"]
        path = f"/api/v1/executions/{id}"

        async def is_waiting() -> bool:
            return bool((await accounts.mara.request("GET", path)).json["status"] == "waiting")

        await until(is_waiting)
        answer = {"approved": True, "data": {"note": "a-key-of-some-length"}}
        answered = await accounts.mara.request("POST", f"{path}/approvals/ask", answer)
        ended = await accounts.mara.ended(id)
        steps = (await accounts.mara.request("GET", f"{path}/steps")).json["steps"]
        received = [step["wait"]["received"]["payload"]["value"] for step in steps]

    assert answered.status == 200, answered
    assert ended["status"] == "completed", ended
    assert [received[0], received[1]["approved"], received[1]["data"]] == [
        {"status": "completed", "result": "***"}, True, {"note": "***"},
    ]  # fmt: skip


CHOOSES: Final = """
nodes:
  ask: {type: approval, params: {prompt: P}, next: {approved: pick, rejected: other}}
  pick:
    type: switch
    params: {cases: [{when: "flow.input.blocked", action: blocked_person}]}
    next: {blocked_person: end, default: other}
  end: {type: return, params: {value: right}}
  other: {type: return, params: {value: wrong}}
"""


async def test_s65_a_secret_that_is_an_action_that_the_flow_names_changes_no_course(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        flow = await accounts.mara.flow(CHOOSES)
        for key, value in (("ANSWERED", "approved"), ("CHOSEN", "blocked_person")):
            assert (await accounts.mara.request("POST", SECRETS, {"key": key, "value": value})).status == 201
        run = await accounts.mara.request("POST", f"/api/v1/flows/{flow}/run", {"input": {"blocked": True}})
        path = f"/api/v1/executions/{run.json['execution_id']}"

        async def is_waiting() -> bool:
            return bool((await accounts.mara.request("GET", path)).json["status"] == "waiting")

        await until(is_waiting)
        answered = await accounts.mara.request("POST", f"{path}/approvals/ask", {"approved": True})
        ended = await accounts.mara.ended(run.json["execution_id"])
        steps = (await accounts.mara.request("GET", f"{path}/steps")).json["steps"]

    assert answered.status == 200, answered
    assert [(step["step"], step.get("action")) for step in steps][:2] == [
        ("ask.1", "approved"),
        ("pick.1", "blocked_person"),
    ]
    assert (ended["status"], ended["result"]) == ("completed", "right")


HANDLES: Final = """
nodes:
  ask:
    type: http.request
    params: {url: "http://169.254.169.254/"}
    next: {default: wrong, error.egress.forbidden: call, error: wrong}
  call:
    type: flow
    params: {flow: child}
    next: {default: wrong, error.egress.forbidden: end, error: wrong}
  end: {type: return, params: {value: right}}
  wrong: {type: return, params: {value: wrong}}
"""


@pytest.mark.parametrize("secret", ["egress.forbidden", "forbidden"])
async def test_s65_a_secret_that_is_an_error_type_of_flowrunner_changes_no_course(tmp_path: Path, secret: str) -> None:
    child = "nodes: {ask: {type: http.request, params: {url: 'http://169.254.169.254/'}}}"
    async with two_accounts_at(tmp_path) as accounts:
        assert (await accounts.mara.request("POST", SECRETS, {"key": "WORD", "value": secret})).status == 201
        body = {"name": "child", "definition": child}
        assert (await accounts.mara.request("POST", "/api/v1/flows", body)).status == 201
        run = await accounts.mara.run(await accounts.mara.flow(HANDLES))
        ended = await accounts.mara.ended(run.json["execution_id"])

    assert (ended["status"], ended["result"]) == ("completed", "right")
