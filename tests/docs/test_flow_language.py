"""The statements and samples of docs/flow-language.md, compared with the code."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import pytest_asyncio

from docs.pages import (
    FLOW_LANGUAGE,
    MOVING,
    OLDER_FORMS,
    README,
    ROOT,
    TRIGGERS,
    all_pages,
    blocks,
    code_of_calls,
    first_words,
    rows,
    section,
)
from flowrunner.api.http import bodies
from flowrunner.domain import config, decide, expression, step_state, store, values
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.expression import OUTPUT_NAMES, javascript
from flowrunner.domain.flow import COMMON_ERRORS, MAX_STEPS
from flowrunner.domain.retry import RetryPolicy
from flowrunner.engine import event_log, held_memory, mailbox, recorder
from flowrunner.flowtest.memory import GivenFlows
from flowrunner.flowtest.paths import edges_of
from flowrunner.flowtest.run_test import Runtime, run_flow_test
from flowrunner.language import json_schema, nodes, reading, retries, schema_budget, study_flow, triggers, yaml_source
from flowrunner.language.flow_tests import read_tests
from flowrunner.language.yaml_source import read_yaml
from flowrunner.local.runtime import open_runtime
from flowrunner.nodes import built_in, email_receive, email_send, http, http_request, loops, sql
from flowrunner.postgres import session, wire
from flowrunner.sandbox.worker import MAX_LINE_TEXT, MAX_LINES
from flowrunner.security.bounded_answers import MAX_ANSWER_BYTES
from flowrunner.services import secrets
from flowrunner.services.language import Language
from flowrunner.settings import Settings
from support.flows import specs

NODE_TYPES = built_in()


def samples() -> Iterator[Any]:
    # Flows with a node type that the page adds: its own test runs them.
    for page in (page for page in all_pages() if page.name != "node-types.md"):
        for number, text in enumerate(blocks(page, "yaml"), 1):
            yield pytest.param(text, id=f"{page.relative_to(ROOT)} {number}")
    for script in blocks(README, "sh"):
        if "<<'YAML'\n" in script:
            yield pytest.param(script.split("<<'YAML'\n")[1].split("\nYAML\n")[0], id="README.md")
    for path in sorted(Path(ROOT / "demo").glob("*.yaml")):
        yield pytest.param(path.read_text(), id=str(path.relative_to(ROOT)))


Offline: TypeAlias = tuple[Language, Runtime]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offline() -> AsyncIterator[Offline]:
    """Open the runtime of `flowrunner validate` and `flowrunner test`."""
    async with open_runtime() as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", list(samples()))
async def test_every_sample_loads_as_a_flow(text: str, offline: Offline) -> None:
    language, _ = offline

    flow = await language.read(text)

    assert flow.nodes
    # Whoever copies a sample would be warned of it.
    assert [(fault.line, fault.message) for fault in study_flow(text, specs()).faults] == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "text",
    [
        *blocks(FLOW_LANGUAGE, "yaml"),
        *blocks(OLDER_FORMS, "yaml"),
        *blocks(TRIGGERS, "yaml"),
        *blocks(README, "yaml"),
        *blocks(MOVING, "yaml"),
    ],
    ids=lambda text: text.strip().partition("\n")[0],
)
async def test_every_sample_of_the_language_does_what_its_tests_say(text: str, offline: Offline) -> None:
    language, runtime = offline
    flow, flows = await language.read(text), GivenFlows()
    nodes = cast("dict[str, Any]", read_yaml(text).value)["nodes"]
    given = flows.add(flow, nodes)

    results = [await run_flow_test(given, test, flows, runtime) for test in read_tests(flow.tests, nodes)[0].values()]

    assert [(v.test.name, v.problems, v.mismatches) for v in results if not v.has_passed] == []
    taken = frozenset().union(*(result.edges for result in results))
    assert edges_of(flow).keys() <= taken, "the tests of a sample take every edge of it"
    assert results


def test_there_are_samples() -> None:
    assert len(blocks(FLOW_LANGUAGE, "yaml")) >= 15
    assert len(list(samples())) >= 20


def test_the_keys_of_a_document_and_of_a_node_are_described() -> None:
    assert set(first_words(section(FLOW_LANGUAGE, "The document"))) >= set(reading.FLOW_KEYS)
    assert set(first_words(section(FLOW_LANGUAGE, "A node"))) == set(nodes.NODE_KEYS)
    assert set(first_words(section(FLOW_LANGUAGE, "Limits of an execution"))) == set(reading.LIMITS_KEYS)


def test_the_warnings_are_the_ones_that_there_are() -> None:
    assert sorted(first_words(section(FLOW_LANGUAGE, "Warnings"))) == sorted(
        code_of_calls({"warn", "warn_at", "_warning", "_missing", "LintWarning"}, r"[a-z]+\.[a-z_]+")
    )


def test_the_names_of_expressions_are_described() -> None:
    assert set(first_words(section(FLOW_LANGUAGE, "Expressions"))) == OUTPUT_NAMES


def test_the_defaults_of_retries_are_described() -> None:
    policy = RetryPolicy(max_retries=3)
    said = {row[0].strip("`"): row[1].strip("`") for row in rows(section(FLOW_LANGUAGE, "Retries"))}

    assert tuple(said) == retries.RETRY_KEYS
    assert int(said["max"]) == retries.policy_of({"delay": 1.0}).max_retries
    assert parse_duration(said["delay"]) == policy.first_delay
    assert float(said["backoff"]) == policy.backoff
    assert parse_duration(said["max_delay"]) == policy.longest_delay
    assert float(said["jitter"]) == policy.jitter
    assert tuple(said["errors"].strip("[]").split(", ")) == policy.errors
    assert said["max_elapsed"] == ""
    assert policy.max_elapsed is None


@pytest.mark.parametrize("name", NODE_TYPES)
def test_the_parameters_of_each_node_type_are_described(name: str) -> None:
    described = [row[0].strip("`") for row in rows(section(FLOW_LANGUAGE, name))]

    fields = NODE_TYPES[name].Params.model_fields
    assert sorted(described) == sorted(field.alias or written for written, field in fields.items())


def test_only_node_types_that_exist_are_described() -> None:
    titles = [line.removeprefix("### ") for line in FLOW_LANGUAGE.read_text().splitlines() if line.startswith("### ")]

    assert titles == list(first_words(section(FLOW_LANGUAGE, "Node types").partition("### ")[0]))
    assert sorted(titles) == sorted(NODE_TYPES)


def test_the_errors_that_any_node_can_have_are_described() -> None:
    described = first_words(section(FLOW_LANGUAGE, "Errors common to all nodes"))

    families = {error.partition(".")[0] for error in described} | set(described)
    # `limit` ends the execution, whatever edges there are.
    assert set(COMMON_ERRORS) - {"limit"} <= families


def test_the_limits_are_the_ones_in_force() -> None:
    said = {name: value for name, value in rows(section(FLOW_LANGUAGE, "Limits"))}  # noqa: C416 # each has two
    execution_memory = Settings().execution_memory
    assert execution_memory is not None

    assert said == {
        "flow document": f"{_size(yaml_source.MAX_BYTES)}, {yaml_source.MAX_DEPTH} levels, "
        f"{yaml_source.MAX_NODES:,} YAML nodes, {reading.MAX_EXPRESSIONS:,} expressions",
        "different patterns in the schemas of a flow": f"{schema_budget.MAX_PATTERNS}",
        "parts of a schema, references unfolded": f"{json_schema.MAX_SUBSCHEMAS:,}",
        "nested scopes": f"{nodes.MAX_DEPTH_OF_SCOPES}",
        "triggers of a flow": f"{triggers.MAX_TRIGGERS}",
        "an expression, a script": _size(javascript.MAX_SCRIPT),
        "elements of a loop": f"{loops.MAX_ITEMS:,}",
        "values that a loop collects": f"{_size(decide.MAX_PART_BYTES)} for each element or round, "
        f"{_size(decide.MAX_COLLECTED_BYTES)} in all",
        "signals that no node has taken yet": f"{mailbox.MAX_EARLY_SIGNALS:,}, "
        f"and {_size(mailbox.MAX_EARLY_BYTES)} in memory",
        "answer of a server": f"{_size(MAX_ANSWER_BYTES)}, and as JSON {values.MOST_LEVELS} levels",
        "result of a node": _size(recorder.MAX_EVENT_BYTES),
        "results of a loop or of branches": f"{_size(step_state.MAX_HELD_BYTES)} in memory",
        "all values that an execution holds": f"{_size(held_memory.MAX_EXECUTION_MEMORY)} in memory",
        "the same of all executions of a workspace, in one process": f"{_size(execution_memory // 2)} "
        "(half of `execution_memory`)",
        "data of an error": f"{_size(recorder.MAX_ERROR_BYTES)}, as JSON and in memory",
        "all events of an execution": _size(event_log.MAX_EXECUTION_BYTES),
        "log lines of an execution": f"{event_log.MAX_LOG_LINES:,}, with a line where they were cut",
        "lists and objects in the value of an expression": f"{values.MOST_LEVELS} levels",
        "log lines of the scripts of a node": f"{MAX_LINES:,} and {_size(MAX_LINE_TEXT)} in each attempt, "
        "the last of which says so if there were more",
        "data of a log line": _size(recorder.MAX_LOG_BYTES),
        "attempts of an execution": f"{MAX_STEPS:,}",
        "evaluated parameters or output of a node": f"{_size(expression.MAX_RENDERED)} together",
        "`query`, `form`, `files` and `headers` of a request": f"{http.MOST_VALUES:,} values each; "
        f"a query has {_size(http_request.MOST_QUERY_CHARACTERS)}",
        "recipients, attachments of an e-mail": f"{email_send.MOST_RECIPIENTS}, {email_send.MOST_ATTACHMENTS}",
        "messages that `email.receive` reads, as JSON; a text of a message; `uids`; `headers`": (
            f"{email_receive.MOST_MESSAGES}, {_size(email_receive.MOST_RESULT_BYTES)}; "
            f"{_size(email_receive.MOST_TEXT_BYTES)}; {email_receive.MOST_MESSAGES}; {email_receive.MOST_HEADERS}"
        ),
        "rows that a query of `sql` returns, their bytes; its arguments; `items`": (
            f"{session.MOST_ROWS:,}, {_size(wire.MOST_ROW_BYTES)}; {sql.MOST_ARGS:,}; {sql.MOST_ITEMS:,}"
        ),
        "key of `limits.concurrency`, `dedupe` of a `flow` node and of a webhook trigger": (
            f"{values.MOST_KEY_CHARACTERS:,} characters"
        ),
        "secrets of a workspace": f"{secrets.MAX_SECRETS}, of {_size(secrets.MAX_VALUE_BYTES)} each",
        "configuration values of a workspace": (
            f"{config.MAX_VALUES}, of {config.MAX_VALUE_CHARACTERS:,} characters of JSON each, "
            f"and {config.MAX_CHARACTERS:,} together"
        ),
        "values in the [store](#store) of a workspace": (
            f"{store.MAX_KEYS:,}, of {_size(store.MAX_VALUE_BYTES)} of JSON each"
        ),
        "request to the API": f"{_size(bodies.MAX_BODY_BYTES)}; {_size(bodies.MAX_FLOW_BODY_BYTES)} "
        "for one that saves a flow",
    }
    assert f"died {decide.MAX_INTERRUPTIONS + 1} times" in FLOW_LANGUAGE.read_text()


def _size(count: int) -> str:
    return f"{count // 1024**2} MiB" if count % 1024**2 == 0 else f"{count // 1024} KiB"
