"""Reader of the tests of a flow. It returns all of them, and every fault."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.log_levels import LOG_LEVELS
from flowrunner.domain.triggers import LAST_KEYS
from flowrunner.domain.values import JSON, rfc3339
from flowrunner.language.flow_tests.document import FlowTestDocument, FoundFault, short
from flowrunner.language.flow_tests.flow_test import (
    ANY,
    Expectation,
    ExpectedError,
    ExpectedLog,
    FlowTest,
    GivenApproval,
    GivenSignal,
    GivenTrigger,
    Mock,
    MockedAnswer,
    MockedError,
    NodePath,
)
from flowrunner.language.flow_tests.mocks import check_mock
from flowrunner.language.flow_tests.node_names import NodeNames
from flowrunner.language.yaml_source import Keys

TEST_KEYS: Final = (
    "description", "input", "trigger", "mocks", "flows", "config", "secrets", "signals", "approvals", "cancel_after",
    "now", "expect",
)  # fmt: skip
TRIGGER_KEYS: Final = ("name", "due_at", "last", "body", "headers", "query", "execution")
MOCK_KEYS: Final = ("result", "error", "action")
ERROR_KEYS: Final = ("type", "message", "data")
SIGNAL_KEYS: Final = ("payload", "after")
APPROVAL_KEYS: Final = ("approved", "by", "data", "after")
EXPECT_KEYS: Final = ("status", "path", "handlers", "result", "result_contains", "error", "logs", "tries")
EXPECTED_ERROR_KEYS: Final = ("type", "message", "node")
EXPECTED_LOG_KEYS: Final = ("level", "message")
NOT_STARTED: Final = "not_started"
STATUSES: Final = ("completed", "failed", "cancelled", "waiting", NOT_STARTED)

MAX_NAME_CHARACTERS: Final = 200


_NO_TYPES: Final[Mapping[str, NodeTypeSpec]] = {}


def read_tests(
    tests: Mapping[str, JSON],
    nodes: Mapping[str, JSON],
    node_types: Mapping[str, NodeTypeSpec] = _NO_TYPES,
    *,
    triggers: Collection[str] | None = None,
) -> tuple[Mapping[str, FlowTest], tuple[FoundFault, ...]]:
    """Return the tests of a flow by name, with every fault.

    Args:
        tests: The tests as written.
        nodes: The nodes of the flow as written.
        node_types: Types to compare the mocks with; without them mocks are not compared.
        triggers: Names of the flow's triggers; without them the names in tests are not compared.
    """
    reader = _TestReader(nodes, node_types, triggers)
    return {name: reader.test(name, test, (name,)) for name, test in tests.items()}, tuple(reader.written.faults)


def read_mocks(
    mocks: Mapping[str, JSON], nodes: Mapping[str, JSON]
) -> tuple[Mapping[NodePath, Mock], tuple[FoundFault, ...]]:
    """Return the mocks for the nodes of a flow, with every fault."""
    reader = _TestReader(nodes, _NO_TYPES)
    return reader.mocks(mocks, ()), tuple(reader.written.faults)


class _TestReader:
    """Reader of the tests of one flow."""

    def __init__(
        self,
        nodes: Mapping[str, JSON],
        node_types: Mapping[str, NodeTypeSpec],
        triggers: Collection[str] | None = None,
    ) -> None:
        self.nodes = nodes
        self.node_types = node_types
        self.triggers = triggers
        self.written = FlowTestDocument()
        self.names = NodeNames(nodes, self.written)

    def test(self, name: str, test: JSON, at: Keys) -> FlowTest:
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            message = f"a test's name has 1 to {MAX_NAME_CHARACTERS} printable characters"
            self.written.fault(at, "test.name", message, is_of_key=True)
        if not isinstance(test, dict):
            self.written.fault(at, "type", "a test is a map: {input, mocks, expect}")
            return FlowTest(name=name)
        self.written.known_keys(test, at, TEST_KEYS)
        self.written.text_at(test, at, "description")
        secrets = self.written.map_at(test, at, "secrets")
        for key, value in secrets.items():
            if not isinstance(value, str):
                self.written.fault((*at, "secrets", key), "type", "a secret is text", "quote it")
        config = self.written.map_at(test, at, "config")
        for key, value in config.items():
            if value is None:
                message = "a configuration value is never null: leave it out to test without it"
                self.written.fault((*at, "config", key), "type", message)
        return FlowTest(
            name=name,
            input=self.written.map_at(test, at, "input"),
            trigger=self.trigger(test, at),
            mocks=self.mocks(self.written.map_at(test, at, "mocks"), (*at, "mocks")),
            flow_mocks=self.flow_mocks(test, at),
            config=config,
            secrets={key: str(value) for key, value in secrets.items()},
            signals={
                key: tuple(
                    self.signal(signal, where)
                    for signal, where in self.written.one_or_more(given, (*at, "signals", key))
                )
                for key, given in self.written.map_at(test, at, "signals").items()
            },
            approvals=self.approvals(test, at),
            cancel_after=self.written.duration_at(test, at, "cancel_after"),
            now=self.written.moment_at(test, at, "now"),
            expect=self.expectation(test, at),
        )

    # Mocks

    def mocks(self, written: Mapping[str, JSON], at: Keys) -> Mapping[NodePath, Mock]:
        mocks: dict[NodePath, Mock] = {}
        for name, mock in written.items():
            path = self.names.node(name, (*at, name))
            if path in mocks:
                self.written.fault((*at, name), "mock.twice", f"'{short(name)}' has a mock already", is_of_key=True)
            answers = []
            node = None if path is None else self.names.at(path)
            for answer, where in self.written.one_or_more(mock, (*at, name)):
                answers.append(self.answer(answer, where))
                if node is not None and isinstance(answer, dict):
                    check_mock(self.written, node, self.node_types, answer, where)
            if path is not None:
                mocks[path] = Mock(tuple(answers), repeats=not isinstance(mock, list))
        return mocks

    def flow_mocks(self, test: Mapping[str, JSON], at: Keys) -> Mapping[str, Mapping[str, JSON]]:
        at, found = (*at, "flows"), {}
        for name, flow in self.written.map_at(test, at[:-1], "flows").items():
            if not isinstance(flow, dict):
                self.written.fault((*at, name), "type", "must be a map: {mocks: {…}}")
                continue
            self.written.known_keys(flow, (*at, name), ("mocks",))
            found[name] = self.written.map_at(flow, (*at, name), "mocks")
            for node, mock in found[name].items():
                for answer, where in self.written.one_or_more(mock, (*at, name, "mocks", node)):
                    self.answer(answer, where)
        return found

    def answer(self, answer: JSON, at: Keys) -> MockedAnswer:
        if not isinstance(answer, dict):
            self.written.fault(at, "type", "a mock is a map: {result: …} or {error: …}", "write {result: …}")
            return MockedAnswer()
        self.written.known_keys(answer, at, MOCK_KEYS)
        if "error" in answer:
            for key in ("result", "action"):
                if key in answer:
                    self.written.fault(
                        (*at, key), "mock.both", f"'{key}' and 'error' exclude each other", is_of_key=True
                    )
            return MockedAnswer(error=self.error(answer["error"], (*at, "error")))
        if "result" not in answer and "action" not in answer:
            self.written.fault(at, "required", "a mock has a 'result', an 'action' or an 'error'")
        return MockedAnswer(result=answer.get("result"), action=self.written.text_at(answer, at, "action"))

    def error(self, error: JSON, at: Keys) -> MockedError:
        if isinstance(error, str) and error:
            return MockedError(error, f"mocked: {error}")
        if not isinstance(error, dict):
            self.written.fault(at, "type", "an error is its type, or a map: {type, message, data}")
            return MockedError("mocked", "mocked")
        self.written.known_keys(error, at, ERROR_KEYS)
        type = self.written.text_at(error, at, "type")
        if not type:
            self.written.fault(at, "required", "an error has a 'type'", "such as http.503 or timeout")
        return MockedError(
            type or "mocked", self.written.text_at(error, at, "message") or f"mocked: {type}", error.get("data")
        )

    # Inputs

    def trigger(self, test: Mapping[str, JSON], at: Keys) -> GivenTrigger | None:
        given, at = test.get("trigger"), (*at, "trigger")
        if given is None:
            return None
        if "input" in test:
            self.written.fault(at, "test.both", "'trigger' and 'input' exclude each other", is_of_key=True)
        written = {"name": given} if isinstance(given, str) else given
        if not isinstance(written, dict):
            self.written.fault(at, "type", "a trigger is its name, or a map: {name, due_at, body, …}")
            return None
        self.written.known_keys(written, at, TRIGGER_KEYS)
        name = self.written.text_at(written, at, "name") or ""
        if self.triggers is not None and name not in self.triggers:
            hint = self.written.suggestions.did_you_mean(name, self.triggers)
            self.written.fault(at, "test.trigger", f"'{short(name)}' is not a trigger of this flow", hint)
        if written.get("last") is not None:
            self.written.known_keys(self.written.map_at(written, at, "last"), (*at, "last"), LAST_KEYS)
        values = {key: value for key, value in written.items() if key in TRIGGER_KEYS[2:]}
        # A schedule is due when the test begins, unless it says something else.
        is_given = "due_at" in written
        due_at = self.written.moment_at(written if is_given else test, at, "due_at" if is_given else "now")
        return GivenTrigger(name, values | {"due_at": rfc3339(due_at)})

    def signal(self, signal: JSON, at: Keys) -> GivenSignal:
        if not isinstance(signal, dict):
            self.written.fault(at, "type", "a signal is a map: {payload, after}", "write {payload: …}")
            return GivenSignal(None)
        self.written.known_keys(signal, at, SIGNAL_KEYS)
        return GivenSignal(signal.get("payload"), self.written.duration_at(signal, at, "after"))

    def approvals(self, test: Mapping[str, JSON], at: Keys) -> Mapping[NodePath, tuple[GivenApproval, ...]]:
        at, found = (*at, "approvals"), {}
        for name, given in self.written.map_at(test, at[:-1], "approvals").items():
            path = self.names.node(name, (*at, name), type="approval")
            answers = tuple(
                self.approval(answer, where) for answer, where in self.written.one_or_more(given, (*at, name))
            )
            if path is not None:
                found[path] = answers
        return found

    def approval(self, answer: JSON, at: Keys) -> GivenApproval:
        if not isinstance(answer, dict):
            self.written.fault(at, "type", "an answer is a map: {approved: true}")
            return GivenApproval(False, None)
        self.written.known_keys(answer, at, APPROVAL_KEYS)
        if not isinstance(answer.get("approved"), bool):
            place = (*at, "approved") if "approved" in answer else at
            self.written.fault(place, "type", "'approved' is true or false")
        return GivenApproval(
            answer.get("approved") is True,
            self.written.text_at(answer, at, "by") or None,
            answer.get("data"),
            self.written.duration_at(answer, at, "after"),
        )

    # Expected outcome

    def expectation(self, test: Mapping[str, JSON], at: Keys) -> Expectation:
        at, expect = (*at, "expect"), self.written.map_at(test, at, "expect")
        self.written.known_keys(expect, at, EXPECT_KEYS)
        error = self.expected_error(expect["error"], (*at, "error")) if "error" in expect else None
        status = expect.get("status", "completed" if error is None else "failed")
        if not isinstance(status, str) or status not in STATUSES:
            self.written.fault(
                (*at, "status"),
                "enum",
                f"must be one of: {', '.join(STATUSES)}",
                self.written.suggestions.did_you_mean(str(status), STATUSES),
            )
            status = "completed"
        else:
            self.check_ending(status, expect, at)
        return Expectation(
            status=status,
            path=self.names_at(expect, at, "path"),
            handlers=self.names_at(expect, at, "handlers"),
            result=expect.get("result", ANY),
            result_contains=expect.get("result_contains", ANY),
            error=error,
            logs=tuple(self.expected_logs(expect, at)),
            tries=self.tries(expect, at),
        )

    def check_ending(self, status: str, expect: Mapping[str, JSON], at: Keys) -> None:
        """Report a result of a flow that does not complete, an error of one that does not fail, and steps of none."""
        has = {"completed": ("result", "result_contains"), "failed": ("error",)}.get(status, ())
        of_steps = {"path": "path", "handlers": "handlers", "logs": "log", "tries": "attempts"}
        of_end = {"result": "result", "result_contains": "result", "error": "error"}
        for key, what in (of_end | (of_steps if status == NOT_STARTED else {})).items():
            if key in expect and key not in has:
                self.written.fault((*at, key), "expect.both", f"a flow that is {status} has no {what}", is_of_key=True)

    def expected_error(self, error: JSON, at: Keys) -> ExpectedError:
        if isinstance(error, str):
            return ExpectedError(type=error)
        if not isinstance(error, dict):
            self.written.fault(at, "type", "an error is its type, or a map: {type, message, node}")
            return ExpectedError()
        self.written.known_keys(error, at, EXPECTED_ERROR_KEYS)
        return ExpectedError(
            type=self.written.text_at(error, at, "type"),
            message=self.written.text_at(error, at, "message"),
            node=self.written.text_at(error, at, "node"),
        )

    def names_at(self, expect: Mapping[str, JSON], at: Keys, key: str) -> tuple[str, ...] | None:
        if key not in expect:
            return None
        names, at = expect[key], (*at, key)
        if not isinstance(names, list):
            self.written.fault(at, "type", "must be a list of nodes")
            return None
        found = []
        for index, name in enumerate(names):
            if not isinstance(name, str) or name not in self.nodes:
                inside = self.names.called(name) if isinstance(name, str) else ()
                hint = "a path holds only top-level nodes" if inside else None
                message = f"'{short(str(name))}' is not a node of this flow"
                self.written.fault(
                    (*at, index),
                    "test.node",
                    message,
                    hint or self.written.suggestions.did_you_mean(str(name), self.nodes),
                )
            else:
                found.append(name)
        return tuple(found)

    def expected_logs(self, expect: Mapping[str, JSON], at: Keys) -> Iterator[ExpectedLog]:
        if "logs" not in expect:
            return
        at, lines = (*at, "logs"), expect["logs"]
        for index, line in enumerate(lines if isinstance(lines, list) else [lines]):
            where = (*at, index) if isinstance(lines, list) else at
            if isinstance(line, str):
                yield ExpectedLog(line)
                continue
            if not isinstance(line, dict):
                self.written.fault(where, "type", "a line is a part of its message, or a map: {level, message}")
                continue
            self.written.known_keys(line, where, EXPECTED_LOG_KEYS)
            level = line.get("level")
            if level is not None and (not isinstance(level, str) or level not in LOG_LEVELS):
                self.written.fault((*where, "level"), "enum", f"must be one of: {', '.join(sorted(LOG_LEVELS))}")
            yield ExpectedLog(
                self.written.text_at(line, where, "message") or "", str(level) if level is not None else None
            )

    def tries(self, expect: Mapping[str, JSON], at: Keys) -> Mapping[NodePath, int]:
        at, found = (*at, "tries"), {}
        for name, count in self.written.map_at(expect, at[:-1], "tries").items():
            path = self.names.node(name, (*at, name))
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                self.written.fault((*at, name), "type", "must be a whole number")
            elif path is not None:
                found[path] = count
        return found
