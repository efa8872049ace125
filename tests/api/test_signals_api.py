"""Signals and approvals: what people and programs tell executions that wait."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import pytest

from api.shapes import SMALLEST, assert_error, assert_recent, moment
from support.client import Client, Reply
from support.databases import change
from support.lazy import Lazy
from support.server import Server
from support.waiting import wait_for

WAIT: Final = "nodes:\n  paid: {type: wait, params: {key: paid}}\n"
LATER: Final = """nodes:
  nap: {type: delay, params: {duration: 400ms}, next: paid}
  paid: {type: wait, params: {key: paid}}
"""
ASK: Final = "nodes:\n  ask: {type: approval, params: {prompt: Push them?}}\n"
FORM: Final = """nodes:
  ask:
    type: approval
    params:
      prompt: How many?
      form:
        type: object
        properties: {count: {type: integer, minimum: 1}, note: {type: string, default: none}}
        required: [count]
        additionalProperties: false
"""
EACH: Final = """nodes:
  each:
    type: foreach
    params: {items: [a, b, c], concurrency: 2}
    nodes:
      ask: {type: approval, params: {prompt: "${item}?"}}
    output: "${result.map(answer => answer.approved)}"
"""


def started(account: Client, definition: str, node: str | None = None) -> str:
    """An execution, once it waits at a node."""
    id = account.run(account.new_flow(definition))
    if node is not None:
        account.waiting_at(id, node)
    return id


def signal(account: Client, id: str, key: str, body: Any = None) -> Reply:
    return account.post(f"/api/v1/executions/{id}/signals/{quote(key, safe='')}", body)


def answer(account: Client, id: str, node: str, body: Any) -> Reply:
    return account.post(f"/api/v1/executions/{id}/approvals/{quote(node, safe='')}", body)


def roles_flow(*roles: str) -> str:
    return f"nodes:\n  ask: {{type: approval, params: {{roles: [{', '.join(roles)}]}}}}\n"


# Signals


def test_a_waiting_execution_says_what_it_waits_for(account: Client) -> None:
    definition = "nodes:\n  paid: {type: wait, params: {key: 'order-${flow.input.order}', timeout: 1h}}\n"
    id = account.run(account.new_flow(definition), {"order": 7})

    execution = account.waiting_at(id, "paid")

    assert execution["status"] == "waiting"
    (waiting,) = execution["waiting_for"]
    until = moment(waiting.pop("until"))
    assert waiting == {"type": "signal", "node": "paid", "step": "paid.1", "key": "order-7"}
    assert 3500 < (until - moment(execution["started_at"])).total_seconds() <= 3610


@pytest.mark.parametrize("payload", [None, 0, "", [], {"amount": 20, "deep": [[{}]]}, "${secrets.X}", "é\u2028🙂"])
def test_a_signal_gives_the_waiting_node_its_payload(account: Client, payload: Any) -> None:
    id = started(account, WAIT, "paid")

    reply = signal(account, id, "paid", {"payload": payload})

    assert (reply.status, reply.json) == (200, {"message": "Signal accepted"})
    assert account.ended(id)["result"] == payload


@pytest.mark.parametrize("body", [None, {}])
def test_a_signal_may_bring_nothing(account: Client, body: Any) -> None:
    id = started(account, WAIT, "paid")

    assert signal(account, id, "paid", body).status == 200
    assert account.ended(id)["result"] is None


def test_a_signal_that_comes_early_is_kept_for_the_node(account: Client) -> None:
    id = started(account, LATER)

    assert signal(account, id, "paid", {"payload": 1}).status == 200
    assert "result" not in account.execution(id)
    assert account.ended(id)["result"] == 1


def test_two_signals_are_two_even_where_one_is_early(account: Client) -> None:
    id = started(
        account,
        "nodes:\n  a: {type: wait, params: {key: k}, next: b}\n  b: {type: wait, params: {key: k}, next: c}\n"
        "  c: {type: return, params: {value: ['${nodes.a.result}', '${nodes.b.result}']}}\n",
        "a",
    )

    assert signal(account, id, "k", {"payload": "first"}).status == 200
    assert signal(account, id, "k", {"payload": "second"}).status == 200
    assert account.ended(id)["result"] == ["first", "second"]


def test_a_signal_of_another_key_is_kept_and_changes_nothing(account: Client) -> None:
    id = started(account, WAIT, "paid")

    assert signal(account, id, "delivered", {"payload": 1}).status == 200
    assert account.execution(id)["status"] == "waiting"
    assert account.delete(f"/api/v1/executions/{id}").status == 200


def test_an_ended_execution_takes_no_signals(account: Client) -> None:
    id = account.run(account.new_flow(SMALLEST))
    account.ended(id)

    assert_error(signal(account, id, "paid", {}), 409, "The execution has already ended: it is completed")


TWICE: Final = """nodes:
  first: {type: wait, params: {key: paid}, next: second}
  second: {type: wait, params: {key: paid}, next: done}
  done: {type: return, params: {value: ["${nodes.first.result}", "${nodes.second.result}"]}}
"""


def keyed(account: Client, id: str, what: str, body: Any, key: str) -> Reply:
    return account.post(f"/api/v1/executions/{id}/{what}", body, Idempotency_Key=key)


def test_a_signal_sent_again_with_its_key_counts_once_also_after_the_end(account: Client) -> None:
    id = started(account, TWICE, "first")

    replies = [keyed(account, id, "signals/paid", {"payload": 1}, "k1") for _ in range(3)]
    account.waiting_at(id, "second")
    replies.append(keyed(account, id, "signals/paid", {"payload": 2}, "k2"))
    account.ended(id)
    replies += [keyed(account, id, "signals/paid", {"payload": n}, f"k{n}") for n in (1, 2)]

    assert [(reply.status, reply.json) for reply in replies] == [(200, {"message": "Signal accepted"})] * 6
    assert account.execution(id)["result"] == [1, 2]
    assert keyed(account, id, "signals/paid", {"payload": 3}, "k3").status == 409


def test_signals_sent_together_with_one_key_count_once(account: Client) -> None:
    id = started(account, TWICE, "first")

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: keyed(account, id, "signals/paid", {"payload": 1}, "k"), range(8)))

    assert [reply.status for reply in replies] == [200] * 8
    account.waiting_at(id, "second")
    signal(account, id, "paid", {"payload": 2})
    assert account.ended(id)["result"] == [1, 2]


@pytest.mark.parametrize("is_open", [True, False])
def test_another_signal_with_the_same_key_is_refused(account: Client, is_open: bool) -> None:
    id = started(account, TWICE if is_open else WAIT)
    account.waiting_at(id, "first" if is_open else "paid")
    keyed(account, id, "signals/paid", {"payload": 1}, "k")
    if not is_open:
        account.ended(id)

    for what, body in (("signals/paid", {"payload": 2}), ("signals/other", {"payload": 1})):
        reply = keyed(account, id, what, body, "k")

        assert reply.status == 422
        assert "was used before, with another request" in reply.error["message"]


def is_waiting(account: Client, id: str, step: str) -> bool:
    return step in {wait.get("step") for wait in account.execution(id).get("waiting_for", ())}


def test_an_answer_sent_again_with_its_key_is_answered_as_the_first_time(account: Client) -> None:
    id = started(account, EACH)
    for step, yes in (("each.1[0]/ask.1", True), ("each.1[1]/ask.1", False), ("each.1[2]/ask.1", True)):
        wait_for(partial(is_waiting, account, id, step))
        said = {"message": "Approved" if yes else "Rejected"}
        for _ in range(2):
            reply = keyed(account, id, f"approvals/{quote(step, safe='')}", {"approved": yes}, step)
            assert (reply.status, reply.json) == (200, said)

    assert account.ended(id)["result"] == [True, False, True]
    assert keyed(account, id, "approvals/ask", {"approved": True}, "new").status == 409
    again = keyed(account, id, f"approvals/{quote('each.1[0]/ask.1', safe='')}", {"approved": True}, "each.1[0]/ask.1")
    assert again.status == 200
    assert keyed(account, id, "approvals/ask", {"approved": False}, "each.1[0]/ask.1").status == 422


def test_a_signal_to_no_execution_is_not_found(account: Client, other: Client) -> None:
    id = started(account, WAIT, "paid")

    assert_error(signal(account, "exec-1", "paid", {}), 404, "Execution not found")
    assert_error(signal(other, id, "paid", {}), 404, "Execution not found")
    assert account.execution(id)["status"] == "waiting"


@pytest.mark.parametrize(
    "key", ["a/b", "order 7", "a.b", "?", "#", "%", "%2F", "é🙂", "x" * 200, "..", "/", "//", "a/"]
)
def test_a_key_may_hold_any_printable_character(account: Client, key: str) -> None:
    id = account.run(account.new_flow("nodes:\n  w: {type: wait, params: {key: '${flow.input.key}'}}\n"), {"key": key})
    account.waiting_at(id, "w")

    assert signal(account, id, key, {"payload": 1}).status == 200
    assert account.ended(id)["result"] == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb", "\x00", "\u2028", "a\x1b[31m"])
def test_a_key_that_nobody_can_wait_for_is_refused(account: Client, key: str) -> None:
    id = started(account, WAIT, "paid")

    details = assert_error(signal(account, id, key, {}), 422)

    assert details["field"] == "key"
    # No node waits for it either.
    definition = "nodes:\n  w: {type: wait, params: {key: '${flow.input.key}'}}\n"
    waiting = account.ended(account.run(account.new_flow(definition), {"key": key.replace("\x00", "\x01")}))
    assert (waiting["status"], waiting["failure"]["type"]) == ("failed", "input.invalid")


@pytest.mark.parametrize(
    ("body", "status"),
    [(Lazy(lambda: {"payload": "x" * 1024 * 1024}), 413), ({"value": 1}, 422), ([1], 422), ("paid", 422)],
)
def test_a_signal_that_makes_no_sense_is_refused(account: Client, body: Any, status: int) -> None:
    id = started(account, WAIT, "paid")

    assert_error(signal(account, id, "paid", body), status)
    assert account.execution(id)["status"] == "waiting"


def test_the_largest_payload_is_kept_whole(account: Client) -> None:
    id = started(account, WAIT, "paid")
    payload = "x" * (1024 * 1024 - 100)

    assert signal(account, id, "paid", {"payload": payload}).status == 200
    assert account.ended(id)["result"] == payload


def test_signals_that_nobody_takes_are_bounded(account: Client) -> None:
    id = started(account, WAIT, "paid")

    with ThreadPoolExecutor(8) as pool:
        statuses = [r.status for r in pool.map(lambda n: signal(account, id, f"k{n}", {}), range(1010))]

    assert (statuses.count(200), statuses.count(409)) == (1000, 10)
    assert_error(
        signal(account, id, "k", {}),
        409,
        "The execution keeps as many signals as it may for steps that do not wait yet: send this one again "
        "when a step waits for its key",
    )
    # The one it waits for still comes through.
    assert signal(account, id, "paid", {"payload": 1}).status == 200
    assert account.ended(id)["result"] == 1


def test_who_only_reads_sends_no_signals(admin: Client) -> None:
    viewer = admin.new_account("viewer")

    assert_error(signal(viewer, "exec-1", "paid", {}), 403)
    assert_error(answer(viewer, "exec-1", "ask", {"approved": True}), 403)


def test_a_token_needs_the_scope_run(account: Client) -> None:
    id = started(account, WAIT, "paid")
    tokens = {
        scope: account.post("/api/v1/tokens", {"name": "N", "scopes": [scope]}).json["token"]
        for scope in ("read", "write", "run")
    }

    for scope in ("read", "write"):
        assert_error(signal(Client(account.url, tokens[scope]), id, "paid", {}), 403)
    assert signal(Client(account.url, tokens["run"]), id, "paid", {}).status == 200


# Approvals


@pytest.mark.parametrize(("approved", "message"), [(True, "Approved"), (False, "Rejected")])
def test_an_approval_is_answered_by_name_with_who_and_when(account: Client, approved: bool, message: str) -> None:
    id = started(account, ASK, "ask")

    reply = answer(account, id, "ask", {"approved": approved, "data": {"why": "enough"}})

    assert (reply.status, reply.json) == (200, {"message": message})
    result = account.ended(id)["result"]
    assert_recent(result.pop("at"))
    assert result == {"approved": approved, "by": account.account_id, "data": {"why": "enough"}}


@pytest.mark.parametrize(("approved", "came"), [(True, "yes"), (False, "no")])
def test_the_answer_decides_which_way_the_flow_goes(account: Client, approved: bool, came: str) -> None:
    definition = """nodes:
  ask: {type: approval, next: {approved: yes, rejected: no, timeout: late}}
  yes: {type: return, params: {value: "yes"}}
  no: {type: return, params: {value: "no"}}
  late: {type: return, params: {value: late}}
"""
    id = started(account, definition, "ask")

    answer(account, id, "ask", {"approved": approved})

    assert account.ended(id)["result"] == came


def test_a_waiting_approval_says_what_is_asked_of_whom(account: Client) -> None:
    definition = FORM.replace("      prompt", "      roles: [admin, user]\n      prompt")
    id = started(account, definition, "ask")

    (waiting,) = account.execution(id)["waiting_for"]

    form = waiting.pop("form")
    assert_recent(waiting.pop("since"))
    assert waiting == {
        "type": "approval", "node": "ask", "step": "ask.1", "until": None, "prompt": "How many?",
        "roles": ["admin", "user"],
    }  # fmt: skip
    assert form["required"] == ["count"]


def test_the_data_of_an_answer_is_checked_by_the_form(account: Client) -> None:
    id = started(account, FORM, "ask")

    for data, path, code in (
        (None, "data", "required"), ({}, "data.count", "required"), ({"count": 0}, "data.count", "range"),
        ({"count": "1"}, "data.count", "type"), ({"count": 1, "x": 2}, "data.x", "unknown_key"),
    ):  # fmt: skip
        details = assert_error(answer(account, id, "ask", {"approved": True, "data": data}), 422)
        assert [(e["path"], e["code"]) for e in details["errors"]] == [(path, code)], data
    assert account.execution(id)["status"] == "waiting"
    assert answer(account, id, "ask", {"approved": True, "data": {"count": 3}}).status == 200
    assert account.ended(id)["result"]["data"] == {"count": 3, "note": "none"}


def test_a_rejection_may_come_without_the_data_and_not_with_other_data(account: Client) -> None:
    definition = (
        FORM + "    next: {approved: done, rejected: done}\n  done: {type: return, params: {value: '${input}'}}\n"
    )
    id = started(account, definition, "ask")

    assert_error(answer(account, id, "ask", {"approved": False, "data": {"count": 0}}), 422)
    assert answer(account, id, "ask", {"approved": False}).status == 200
    result = account.ended(id)["result"]
    assert (result["approved"], result["data"]) == (False, None)


def test_a_fault_within_the_data_has_its_place(account: Client) -> None:
    definition = (
        "nodes:\n  ask: {type: approval, params: {form: {properties: {a/b: {type: array, items: {type: integer}}}}}}\n"
    )
    id = started(account, definition, "ask")

    details = assert_error(answer(account, id, "ask", {"approved": True, "data": {"a/b": [1, "2"]}}), 422)

    (fault,) = details["errors"]
    assert (fault["path"], fault["pointer"]) == ("data.a/b[1]", "/data/a~1b/1")


def test_every_fault_of_the_data_is_told_at_once(account: Client) -> None:
    id = started(account, FORM, "ask")

    details = assert_error(answer(account, id, "ask", {"approved": True, "data": {"note": 1, "x": 1}}), 422)

    assert {error["path"] for error in details["errors"]} == {"data.count", "data.note", "data.x"}


def test_of_two_answers_the_first_counts(account: Client) -> None:
    definition = ASK.replace("}}\n", "}, next: {approved: paid, rejected: paid}}\n") + WAIT.removeprefix("nodes:\n")
    id = started(account, definition, "ask")
    assert answer(account, id, "ask", {"approved": True}).status == 200
    account.waiting_at(id, "paid")

    assert_error(answer(account, id, "ask", {"approved": False}), 409, "'ask' does not wait for approval")
    signal(account, id, "paid")
    account.ended(id)
    assert_error(
        answer(account, id, "ask", {"approved": False}), 409, "The execution has already ended: it is completed"
    )


def test_of_many_answers_at_once_one_counts(account: Client) -> None:
    definition = (
        "nodes:\n  ask: {type: approval, next: {approved: paid, rejected: paid}}\n"
        "  paid: {type: wait, params: {key: paid}, output: '${nodes.ask.result.data}'}\n"
    )
    id = started(account, definition, "ask")
    barrier = threading.Barrier(8)

    def attempt(number: int) -> int:
        barrier.wait()
        return answer(account, id, "ask", {"approved": True, "data": number}).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(attempt, range(8)))

    assert sorted(statuses) == [200] + [409] * 7
    signal(account, id, "paid")
    assert account.ended(id)["result"] == statuses.index(200)


def test_where_several_runs_of_a_node_wait_the_step_is_named(account: Client) -> None:
    id = started(account, EACH, "ask")

    assert [w["step"] for w in account.execution(id)["waiting_for"]] == ["each.1[0]/ask.1", "each.1[1]/ask.1"]
    reply = answer(account, id, "ask", {"approved": True})
    assert_error(
        reply, 409, "Several runs of 'ask' wait for approval; name one of them: each.1[0]/ask.1, each.1[1]/ask.1"
    )
    assert answer(account, id, "each.1[1]/ask.1", {"approved": False}).status == 200
    assert_error(answer(account, id, "each.1[1]/ask.1", {"approved": True}), 409)
    assert answer(account, id, "each.1[0]/ask.1", {"approved": True}).status == 200
    # The last one is alone, so that its name is enough.
    while [w["step"] for w in account.waiting_at(id, "ask")["waiting_for"]] != ["each.1[2]/ask.1"]:
        pass
    assert answer(account, id, "ask", {"approved": True}).status == 200
    assert account.ended(id)["result"] == [True, False, True]


def test_a_path_to_a_step_may_be_written_plainly(account: Client) -> None:
    id = started(account, EACH.replace("[a, b, c]", "[a]"), "ask")

    assert account.post(f"/api/v1/executions/{id}/approvals/each.1[0]/ask.1", {"approved": True}).status == 200


@pytest.mark.parametrize("roles", [["admin"], ["user"], ["operator", "editor"], ["admin", "user"]])
def test_the_owner_of_a_personal_workspace_has_every_role_there(account: Client, roles: list[str]) -> None:
    id = started(account, roles_flow(*roles), "ask")

    assert answer(account, id, "ask", {"approved": True}).status == 200


@pytest.mark.parametrize("role", ["viewer", "manager", "Admin", "''"])
def test_a_role_that_nobody_can_answer_with_is_a_fault(account: Client, role: str) -> None:
    reply = account.post("/api/v1/flows", {"name": "N", "definition": roles_flow("admin", role)})

    (fault,) = assert_error(reply, 422)["errors"]
    assert (fault["path"], fault["code"]) == ("nodes.ask.params.roles[1]", "param")


def test_of_a_wrong_name_is_told_what_waits_for_approval(account: Client) -> None:
    id = started(account, "start: first\nnodes: {first: {type: log, params: {message: x}, next: ask}, "
                          "ask: {type: approval, params: {prompt: Go on?}}}", "ask")  # fmt: skip

    reply = answer(account, id, "first", {"approved": True})

    assert_error(reply, 409, "'first' does not wait for approval; what does: ask.1")


def test_what_does_not_wait_for_approval_cannot_be_answered(account: Client, other: Client) -> None:
    id = started(account, WAIT, "paid")

    assert_error(answer(account, id, "paid", {"approved": True}), 409, "'paid' does not wait for approval")
    assert_error(answer(account, id, "nobody", {"approved": True}), 404, "Approval 'nobody' not found")
    assert_error(answer(account, "exec-1", "paid", {"approved": True}), 404, "Execution not found")
    assert_error(answer(other, id, "paid", {"approved": True}), 404, "Execution not found")


@pytest.mark.parametrize(
    "body", [{}, {"approved": "yes"}, {"approved": 1}, {"approved": None}, {"approved": True, "by": "me"}]
)
def test_an_answer_says_yes_or_no_and_nothing_about_who(account: Client, body: Any) -> None:
    id = started(account, ASK, "ask")

    assert_error(answer(account, id, "ask", body), 422)
    assert account.execution(id)["status"] == "waiting"


def test_a_signal_does_not_answer_an_approval(account: Client) -> None:
    id = started(account, ASK, "ask")

    for key in ("ask", "ask.1", "approval:ask.1"):
        assert signal(account, id, key, {"payload": {"approved": True}}).status == 200
    assert account.execution(id)["status"] == "waiting"


def test_an_approval_that_takes_too_long_goes_its_own_way(account: Client) -> None:
    definition = (
        "nodes:\n  ask: {type: approval, timeout: 300ms, next: {timeout: late, approved: late, rejected: late}}\n"
        "  late: {type: return, params: {value: '${nodes.ask.action}'}}\n"
    )
    id = started(account, definition)

    assert account.ended(id)["result"] == "timeout"
    assert_error(answer(account, id, "ask", {"approved": True}), 409)


def test_an_approval_beside_a_running_branch_can_be_answered(account: Client) -> None:
    definition = """vars: {asked: false}
nodes:
  both:
    type: parallel
    branches:
      ask: {nodes: {ask: {type: approval, next: {approved: done}}, done: {type: set, params: {asked: true}}}}
      work: {nodes: {spin: {type: while, params: {when: "!vars.asked"}, nodes: {nap: {type: delay, params: {duration: 50ms}}}}}}
    output: "${nodes.both.status}"
"""  # noqa: E501
    id = account.run(account.new_flow(definition))
    while answer(account, id, "ask", {"approved": True}).status != 200:
        assert account.execution(id)["status"] != "failed"

    assert account.ended(id)["status"] == "completed"


@pytest.mark.parametrize("form", ["{type: banana}", "{properties: 5}", "{pattern: '('}", "{required: true}"])
def test_a_form_that_is_no_schema_is_a_fault_of_the_flow(account: Client, form: str) -> None:
    definition = f"nodes:\n  ask: {{type: approval, params: {{form: {form}}}}}\n"

    details = assert_error(account.post("/api/v1/flows", {"name": "N", "definition": definition}), 422)

    assert all(error["path"].startswith("nodes.ask.params.form") for error in details["errors"])


def test_a_form_that_its_expressions_made_unusable_is_told_and_nothing_crashes(account: Client) -> None:
    definition = "nodes:\n  ask: {type: approval, params: {form: {type: '${flow.input.type}'}}}\n"
    flow_id = account.new_flow(definition)
    good, bad = account.run(flow_id, {"type": "integer"}), account.run(flow_id, {"type": "banana"})
    account.waiting_at(good, "ask")
    account.waiting_at(bad, "ask")

    assert answer(account, good, "ask", {"approved": True, "data": 1}).status == 200
    reply = answer(account, bad, "ask", {"approved": True, "data": 1})
    assert_error(reply, 409)
    assert reply.error["message"].startswith("This approval cannot be answered: the schema has faults: type: ")


# Signals by what the sender knows

ORDER = """
inputs: {order: {type: string, searchable: true}}
nodes:
  paid: {type: wait, params: {key: paid}, next: done}
  done: {type: return, params: {value: "${[flow.input.order, input]}"}}
"""


SELECTS_TOO_MANY: Final = "filter: selects more than 100 executions, and a signal goes to so many at most"


def order(account: Client, flow: str, number: str, **labels: str) -> str:
    reply = account.post(f"/api/v1/flows/{flow}/run", {"input": {"order": number}, "labels": labels})
    return str(reply.json["execution_id"])


def signal_many(account: Client, filter: Any, payload: Any = None, **headers: str) -> Any:
    body = {"key": "paid", "payload": payload, "filter": filter}
    return account.post("/api/v1/executions:signal", body, **headers)


def test_a_signal_reaches_the_open_executions_of_an_order(account: Client) -> None:
    flow, other = account.new_flow(ORDER, name="orders"), account.new_flow(ORDER, name="others")
    ended = order(account, flow, "4711")
    signal(account, ended, "paid", {})
    account.ended(ended)
    wanted = [order(account, flow, "4711"), order(account, flow, "4711", team="core")]
    rest = [order(account, flow, "4712"), order(account, other, "4711")]

    reply = signal_many(account, {"flow": "orders", "input": {"order": "4711"}}, 20)

    assert (reply.status, reply.json) == (200, {"executions": sorted(wanted), "errors": []})
    assert [account.ended(id)["result"] for id in wanted] == [["4711", 20]] * 2
    assert [account.execution(id)["status"] for id in rest] == ["waiting"] * 2
    assert signal_many(account, {"input": {"order": "4711"}}).json["executions"] == [rest[1]]


def test_a_signal_reaches_the_executions_with_a_label(account: Client) -> None:
    flow = account.new_flow(ORDER)
    wanted, _ = order(account, flow, "1", customer="7"), order(account, flow, "2", customer="8")

    assert signal_many(account, {"label": ["customer:7"]}).json["executions"] == [wanted]


def test_a_signal_that_no_open_execution_fits_is_sent_to_none(account: Client) -> None:
    flow = account.new_flow(ORDER)
    ended = order(account, flow, "4711")
    account.delete(f"/api/v1/executions/{ended}")
    account.ended(ended)

    for headers in ({}, {"Idempotency_Key": "k"}):
        reply = signal_many(account, {"input": {"order": "4711"}}, **headers)
        assert_error(reply, 404, "No open execution fits the filter: it may not have started yet, or has ended")
    # A rejected request does not use up its key.
    started = order(account, flow, "4711")
    unprintable = {"key": "paid\n", "filter": {"input": {"order": "4711"}}}
    rejected = account.post("/api/v1/executions:signal", unprintable, Idempotency_Key="k")
    assert assert_error(rejected, 422)["field"] == "key"
    assert signal_many(account, {"input": {"order": "4711"}}, Idempotency_Key="k").json["executions"] == [started]


@pytest.mark.parametrize(
    ("filter", "field"),
    [
        ({}, "filter"),
        ({"flow": "orders"}, "filter"),
        ({"input": {"order": "1"}, "status": "completed"}, "filter.status"),
        ({"input": {"order": "1"}, "unrepaired": True}, "filter.unrepaired"),
        ({"input": {"order": "1"}, "more": 1}, "filter.more"),
    ],
)
def test_a_filter_that_says_nothing_of_the_order_is_refused(account: Client, filter: Any, field: str) -> None:
    assert assert_error(signal_many(account, filter), 422)["field"] == field


def test_a_request_with_the_same_key_signals_once_even_after_its_executions_have_ended(account: Client) -> None:
    flow = account.new_flow(ORDER)
    started = order(account, flow, "4711")
    filter = {"input": {"order": "4711"}}

    once = signal_many(account, filter, 1, Idempotency_Key="k")
    account.ended(started)
    later = order(account, flow, "4711")
    again = signal_many(account, filter, 1, Idempotency_Key="k")

    assert (once.status, again.status, again.json) == (200, 200, once.json)
    assert again.headers["idempotent-replayed"] == "true"
    account.waiting_at(later, "paid")
    assert_error(
        signal_many(account, filter, 2, Idempotency_Key="k"),
        422,
        "Idempotency-Key: was used before, with another request",
    )


def test_a_repeat_whose_first_answer_was_not_kept_finds_what_has_the_signal(account: Client, server: Server) -> None:
    """As after a kill between the signal and its answer."""
    flow = account.new_flow(ORDER)
    ended, filter = order(account, flow, "4711"), {"input": {"order": "4711"}}
    signal_many(account, filter, 1, Idempotency_Key="k")
    account.ended(ended)
    change(server.place, "DELETE FROM request_keys WHERE key NOT LIKE 'search %'")

    again = signal_many(account, filter, 1, Idempotency_Key="k")

    assert (again.status, again.json["executions"]) == (200, [ended])


def test_a_signal_goes_to_a_hundred_executions_at_most(account: Client) -> None:
    flow = account.new_flow(ORDER)
    started = [order(account, flow, "4711") for _ in range(101)]

    assert_error(signal_many(account, {"input": {"order": "4711"}}), 422, SELECTS_TOO_MANY)
    account.delete(f"/api/v1/executions/{started[0]}")
    account.ended(started[0])

    assert signal_many(account, {"input": {"order": "4711"}}).json == {"executions": sorted(started[1:]), "errors": []}


def test_who_only_reads_signals_nothing_and_another_account_finds_nothing(
    account: Client, other: Client, admin: Client
) -> None:
    started = order(account, account.new_flow(ORDER), "4711")

    assert_error(signal_many(other, {"input": {"order": "4711"}}), 404)
    assert_error(signal_many(admin.new_account("viewer"), {"input": {"order": "4711"}}), 403)
    assert account.execution(started)["status"] == "waiting"


def test_requests_with_one_key_at_the_same_time_signal_once(account: Client) -> None:
    flow = account.new_flow(
        """
inputs: {order: {type: string, searchable: true}}
nodes:
  paid: {type: wait, params: {key: paid}, next: again}
  again: {type: wait, params: {key: paid, timeout: 300ms}, next: {default: twice, timeout: once}}
  once: {type: return, params: {value: once}}
  twice: {type: return, params: {value: twice}}
"""
    )
    started = order(account, flow, "4711")
    account.waiting_at(started, "paid")

    def send(_: int) -> Any:
        return signal_many(account, {"input": {"order": "4711"}}, 1, Idempotency_Key="k")

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(send, range(8)))

    assert {reply.status for reply in replies} == {200}
    assert {tuple(reply.json["executions"]) for reply in replies} == {(started,)}
    assert account.ended(started)["result"] == "once"
