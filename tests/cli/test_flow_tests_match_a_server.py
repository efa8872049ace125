"""A flow does the same in its tests and on a server: the same events in the same order, for all samples of the docs."""

import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from docs.test_flow_language import samples
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.events import Completed, Event, Logged
from flowrunner.domain.flow import DEFAULT_ACTION
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import JSON
from flowrunner.engine import actor
from flowrunner.flowtest.memory import GivenFlows
from flowrunner.flowtest.run_test import FlowTestResult, Runtime, run_flow_test
from flowrunner.language import study_flow
from flowrunner.language.flow_tests import FlowTest, Mock, NodePath, read_tests
from flowrunner.language.yaml_source import read_yaml
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeFailure, NodeType, Outcome, StepContext
from flowrunner.ports.journal import load_whole
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.redaction import SecretRedactor
from language.backend import local
from language.case import Case, Expectation
from language.notation import by_scope, line_of
from language.rule_runner import MAIN, RuleRunner, _next_moment
from support.databases import MARA

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPECS: Final = {name: node_type.spec() for name, node_type in built_in().items()}


@dataclass(frozen=True)
class Sample:
    text: str
    nodes: Mapping[str, JSON]
    test: FlowTest


def all_tests() -> Iterator[Any]:
    for sample in samples():
        (text,) = sample.values
        document: Any = read_yaml(text).value
        tests, faults = read_tests(document.get("tests") or {}, document["nodes"])
        assert faults == ()
        for name, test in tests.items():
            if test.flow_mocks or test.trigger is not None:
                # The test needs further documents, or what fires the trigger.
                continue
            yield pytest.param(Sample(text, document["nodes"], test), id=f"{sample.id}: {name}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[JailedSandbox]:
    opened = JailedSandbox(2)
    yield opened
    await opened.close()


@pytest.mark.parametrize("sample", list(all_tests()))
async def test_the_events_are_those_of_a_server(sample: Sample, tmp_path: Path, sandbox: JailedSandbox) -> None:
    in_test = await flow_test_events(sample, sandbox)

    on_server = await Server(sample, tmp_path, sandbox).run()

    assert by_scope(lines(on_server)) == by_scope(lines(in_test))
    if not re.search("concurrency|parallel", sample.text):
        assert lines(on_server) == lines(in_test)
    if isinstance(in_test[-1], Completed) and not sample.test.approvals:
        # An answer to an approval holds its author and time.
        assert on_server[-1] == in_test[-1]


@pytest.mark.parametrize(
    "sample", [found for found in all_tests() if str(found.id).startswith("docs/flow-language.md")]
)
async def test_the_samples_of_the_language_pass_their_tests(sample: Sample, sandbox: JailedSandbox) -> None:
    result = await result_of(sample, sandbox)

    assert result.has_passed, (result.problems, result.mismatches)


@pytest.mark.parametrize("seed", range(20))
async def test_flows_made_at_random_do_the_same_on_a_server(seed: int, tmp_path: Path, sandbox: JailedSandbox) -> None:
    text = json.dumps(random_document(random.Random(seed)), indent=2)
    document: Any = read_yaml(text).value
    tests, faults = read_tests(document["tests"], document["nodes"])
    assert faults == ()
    sample = Sample(text, document["nodes"], tests["it"])

    in_test = await flow_test_events(sample, sandbox)
    on_server = await Server(sample, tmp_path, sandbox).run()

    assert by_scope(lines(on_server)) == by_scope(lines(in_test)), text
    assert type(on_server[-1]) is type(in_test[-1])
    if isinstance(in_test[-1], Completed):
        assert on_server[-1] == in_test[-1], text


def random_document(chance: random.Random) -> dict[str, Any]:
    """Return a flow of a few nodes with random edges, and one test that mocks every node that needs a mock."""
    names = [f"n{number}" for number in range(chance.randint(2, 6))]
    mocks: dict[str, Any] = {}
    nodes = {name: random_node(chance, name, mocks) for name in names}
    for number, name in enumerate(names):
        onward = names[number + 1] if number + 1 < len(names) else None
        edges = {"default": onward} if onward is not None else {}
        if chance.random() < 0.3:
            edges["default"] = chance.choice(names)
        if chance.random() < 0.5 and nodes[name]["type"] in ("http.request", "foreach"):
            edges[chance.choice(["error", "error.http.5xx", "error.timeout"])] = chance.choice(names)
        if nodes[name]["type"] == "switch":
            edges["other"] = chance.choice(names)
        if nodes[name]["type"] == "wait":
            edges["timeout"] = chance.choice(names)
        nodes[name]["next"] = edges
    # The first node can lead to every node, so all of them are reachable.
    nodes["first"] = {
        "type": "switch",
        "params": {"cases": [{"when": "false", "action": name} for name in names[1:]]},
        "next": {"default": names[0], **{name: name for name in names[1:]}},
    }
    handlers = {"on_finish": "last"} if chance.random() < 0.3 else {}
    if handlers:
        nodes["last"] = {"type": "log", "params": {"message": "${execution.status}"}}
    test: dict[str, Any] = {"mocks": mocks, "signals": {"go": [{"payload": 1}, {"payload": 2, "after": "1h"}]}}
    if chance.random() < 0.2:
        # Nothing else is due at this moment: the clock of the server moves each time it is read.
        test["cancel_after"] = "97700ms"
    document = {"start": "first", "vars": {"n": 0}, "limits": {"max_steps": 60}, "nodes": nodes, "tests": {"it": test}}
    return {**document, **handlers}


def random_node(chance: random.Random, name: str, mocks: dict[str, Any]) -> dict[str, Any]:
    kind = chance.choice(["request", "request", "switch", "foreach", "parallel", "delay", "set", "wait", "transform"])
    match kind:
        case "request":
            mocks[name] = random_mock(chance)
            return {
                "type": "http.request",
                "params": {"url": "https://example.com/${vars.n}"},
                "retry": {"max": chance.randint(0, 2), "delay": "10s"},
            }
        case "switch":
            return {"type": "switch", "params": {"cases": [{"when": "vars.n % 2 == 1", "action": "other"}]}}
        case "foreach":
            concurrency = chance.randint(1, 2)
            mocks[f"{name}.ask"] = random_mock(chance)
            # With several runs at a time it is a race which of them fails first.
            on_error = chance.choice(["fail", "continue", "collect"] if concurrency == 1 else ["continue", "collect"])
            inner = {
                "ask": {"type": "http.request", "params": {"url": "https://example.com/${item}"}, "next": "said"},
                "said": {"type": "log", "params": {"message": "${index}: ${item}"}},
            }
            params = {"items": list(range(chance.randint(0, 3))), "concurrency": concurrency, "on_error": on_error}
            return {"type": "foreach", "params": params, "nodes": inner}
        case "parallel":
            left = {"pause": {"type": "delay", "params": {"duration": f"{chance.randint(0, 9)}s"}}}
            right = {"say": {"type": "log", "params": {"message": "right of ${vars.n}"}}}
            branches = {"left": {"nodes": left}, "right": {"nodes": right}}
            # The whole result holds the input twice, and would grow without bound in a loop.
            return {"type": "parallel", "branches": branches, "output": "${result.left == null}"}
        case "delay":
            return {"type": "delay", "params": {"duration": chance.choice(["5s", "1m", "2d"])}}
        case "set":
            return {"type": "set", "params": {"n": "${vars.n + 1}"}}
        case "wait":
            return {"type": "wait", "params": {"key": "go", "timeout": "2h"}}
        case _:
            return {"type": "transform", "params": {"value": {"n": "${vars.n * 2}", "was": "${input == null}"}}}


def random_mock(chance: random.Random) -> Any:
    answers = [{"result": {"status_code": 200}}, {"error": "http.503"}, {"error": "timeout"}, {"error": "http.404"}]
    # A list is long enough for any number of tries.
    return chance.choice(answers) if chance.random() < 0.5 else [chance.choice(answers) for _ in range(100)]


def lines(events: list[Event]) -> list[str]:
    """Return a line for each event; accounts that answer have other names on a server."""
    return [
        f"log {e.scope}/{e.node} {e.level} {ANSWER.sub('by …', e.message)}"
        if isinstance(e, Logged)
        else str(line_of(e))
        for e in events
    ]


ANSWER: Final = re.compile(r"(?<=^Approved by )\S+|(?<=^Rejected by )\S+")


async def flow_test_events(sample: Sample, sandbox: JailedSandbox) -> list[Event]:
    result = await result_of(sample, sandbox)
    assert result.problems == []
    return list(result.events)


async def result_of(sample: Sample, sandbox: JailedSandbox) -> FlowTestResult:
    def redactor(values: Any) -> SecretRedactor:
        made = SecretRedactor()
        made.add(values)
        return made

    flow = study_flow(sample.text, SPECS).flow
    assert flow is not None
    flows = GivenFlows()
    runtime = Runtime(node_types=built_in(), sandbox=sandbox, schemas=RustSchemas(), make_redactor=redactor)
    return await run_flow_test(flows.add(flow, sample.nodes), sample.test, flows, runtime)


async def test_the_waits_of_a_long_execution_take_no_real_time(
    sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a server it would stay in memory for the whole hour, by the clock of the machine.
    for name, value in (("_LONG_EVENTS", 1), ("_STAY_SECONDS_AN_EVENT", 3600.0), ("_LONGEST_STAY_SECONDS", 3600.0)):
        monkeypatch.setattr(actor, name, value)
    text = "nodes: {a: {type: delay, params: {duration: 1h}, next: b}, b: {type: return, params: {value: 1}}}\n"
    flow = study_flow(text, SPECS).flow
    assert flow is not None
    (test,) = read_tests({"waits": {"expect": {"result": 1}}}, {})[0].values()
    flows = GivenFlows()
    runtime = Runtime(
        node_types=built_in(), sandbox=sandbox, schemas=RustSchemas(), make_redactor=lambda _: SecretRedactor()
    )

    result = await run_flow_test(flows.add(flow, {}), test, flows, runtime, most_seconds=10.0)

    assert (result.problems, result.status, result.virtual_seconds) == ([], "completed", 3600.0)


# The same on a server


@dataclass
class Mocks:
    """Node types with the mocked results of a test, chosen by the step that runs."""

    mocks: Mapping[NodePath, Mock]
    asked: dict[NodePath, int] = field(default_factory=dict)

    def types(self) -> list[NodeType[Any]]:
        return [self.mocked(node_type) for node_type in built_in().values()]

    def mocked(self, real: NodeType[Any]) -> NodeType[Any]:
        async def run(node_type: NodeType[Any], params: Any, context: StepContext) -> Any:
            path = path_of(context.step)
            mock = self.mocks.get(path)
            if mock is None:
                return await real.run(params, context)
            count = self.asked[path] = self.asked.get(path, 0) + 1
            answer = mock.answers[0 if mock.repeats else count - 1]
            if answer.error is not None:
                raise NodeFailure(answer.error.type, answer.error.message, data=answer.error.data)
            return Outcome(answer.result, answer.action or DEFAULT_ACTION)

        made: NodeType[Any] = type(f"Mocked{type(real).__name__}", (type(real),), {"run": run})()
        return made


def path_of(step: str) -> NodePath:
    """Return the path of `each.1[4]/both.1[left]/push.1` as tests name it: each.both.left.push."""
    path: NodePath = ()
    for part in step.split("/"):
        head, _, key = part.removesuffix("]").partition("[")
        if key.startswith("notify."):
            # The node that an approval tells people with stands beside it.
            continue
        if part not in ("on_failure", "on_finish"):
            path += (head.rpartition(".")[0], *([key] if key and not key.isdigit() else []))
    return path


@dataclass
class Server:
    """Real engine on a real database, with the mocks, secrets, signals and answers of a test."""

    sample: Sample
    directory: Path
    sandbox: JailedSandbox

    async def run(self) -> list[Event]:
        test = self.sample.test
        needed = study_flow(self.sample.text, SPECS).needed
        secrets = {**{name: f"value of {name}" for root, name in needed if root == "secrets"}, **test.secrets}
        case = Case(rule="", flow=self.sample.text, secrets=secrets, input=test.input, expect=Expectation())
        runner = RuleRunner(local(self.directory / "flowrunner.db"), self.sandbox, case, crashes_at_rest=False)
        runner._script = Mocks(test.mocks)  # type: ignore[assignment]
        await runner.open()
        try:
            for name, value in secrets.items():
                await runner.services.vault.set(MARA, name, value, at=runner.clock.now())
            await runner.set_config(test.config)
            await runner.save(MAIN, self.sample.text)
            try:
                await runner.start(test.input)
            except InvalidInput as error:
                pytest.fail(f"the sample's input is refused: {error}")
            await self._run_to_the_end(runner)
            return [event for event, _ in await self._recorded(runner)]
        finally:
            await runner.close()

    async def _run_to_the_end(self, runner: RuleRunner) -> None:
        begun = (await self._recorded(runner))[0][1]
        inputs = list(self._inputs(begun))
        while True:
            await runner.settle()
            state = replay(await self._recorded(runner))
            waiting = [current.waiting for current in map(state.at, state.timed) if current.waiting is not None]
            keys = {(wait.signal_key or "").rpartition("/")[2] for wait in waiting}
            now = runner.clock.now()
            ready = next(
                (item for item in inputs if (item[0] is None and item[1] in keys) or (item[0] or now) < now), None
            )
            if ready is not None:
                inputs.remove(ready)
                await runner.do(*ready[2])
                continue
            moments = [m for s, flow in await runner._open_executions() if (m := _next_moment(s, flow))]
            moments += [item[0] for item in inputs if item[0] is not None]
            if not moments or state.ending is not None:
                return
            await runner._set_clock(min(moments))

    def _inputs(self, begun: datetime) -> Iterator[tuple[datetime | None, str, tuple[str, Any]]]:
        """Yield the earliest moment of each input, the key of the wait that it is for, and its step of a case."""
        test = self.sample.test

        def moment(after: float | None) -> datetime | None:
            return None if after is None else begun + timedelta(seconds=after)

        for key, signals in test.signals.items():
            for signal in signals:
                yield moment(signal.after), f"signal:{key}", ("signal", {"key": key, "payload": signal.payload})
        for path, answers in test.approvals.items():
            for answer, by in zip(answers, cycle(("admin", "operator")), strict=False):
                does = "approve" if answer.approved else "reject"
                what = {"node": path[-1], "data": answer.data, "by": by}
                yield moment(answer.after), f"approval:{path[-1]}.1", (does, what)
        if test.cancel_after is not None:
            yield moment(test.cancel_after), "", ("cancel", {})

    async def _recorded(self, runner: RuleRunner) -> list[tuple[Event, datetime]]:
        _, recorded = await load_whole(runner.services.journal, runner.executions[MAIN])
        return list(recorded)
