"""What the tests of a flow say: what flows in, what nodes give in place of running, and what is to come of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

from flowrunner.domain.duration import HINT as DURATION_HINT
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.events import LOG_LEVELS
from flowrunner.domain.suggestions import Suggestions
from flowrunner.domain.values import JSON
from flowrunner.domain.written_nodes import inner_nodes
from flowrunner.domain.yaml_source import Keys

# A node of a flow: its name after those of the nodes and branches around it.
NodePath: TypeAlias = tuple[str, ...]

TEST_KEYS: Final = (
    "description", "input", "mocks", "flows", "secrets", "signals", "approvals", "cancel_after", "now", "expect",
)  # fmt: skip
MOCK_KEYS: Final = ("result", "error", "action")
ERROR_KEYS: Final = ("type", "message", "data")
SIGNAL_KEYS: Final = ("payload", "after")
APPROVAL_KEYS: Final = ("approved", "by", "data", "after")
EXPECT_KEYS: Final = ("status", "path", "handlers", "result", "result_contains", "error", "logs", "tries")
EXPECTED_ERROR_KEYS: Final = ("type", "message", "node")
EXPECTED_LOG_KEYS: Final = ("level", "message")
STATUSES: Final = ("completed", "failed", "cancelled", "waiting")

MAX_NAME_CHARACTERS: Final = 200
MOST_ANSWERS: Final = 1000
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MockedError:
    type: str
    message: str
    data: JSON = None


@dataclass(frozen=True, slots=True)
class MockedAnswer:
    """What one run of a node gives in place of doing its work.

    Attributes:
        action: How it ends; None for as its type does where nothing else is said.
    """

    result: JSON = None
    action: str | None = None
    error: MockedError | None = None


@dataclass(frozen=True, slots=True)
class Mock:
    """What the runs of a node give, one after the other.

    Attributes:
        repeats: There is one answer, for however many runs.
    """

    answers: tuple[MockedAnswer, ...]
    repeats: bool


@dataclass(frozen=True, slots=True)
class GivenSignal:
    """``after``: seconds since the start; None for as soon as a step waits for it."""

    payload: JSON
    after: float | None = None


@dataclass(frozen=True, slots=True)
class GivenApproval:
    approved: bool
    by: str
    data: JSON = None
    after: float | None = None


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """``type`` may be a family, such as `http.5xx`; ``message`` is a part of the whole. None is any."""

    type: str | None = None
    message: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedLog:
    """A line with ``message`` in it. ``level``: None is any."""

    message: str
    level: str | None = None


# Stands for a result that nobody has an opinion of: null is one.
ANY: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How an execution is to end. What is None is not looked at.

    Attributes:
        path: Names of the flow's own nodes in the order they ran; skipped ones did not.
        handlers: The same of `on_failure` and `on_finish`.
        result: What it gives, exactly; `ANY` is anything.
        result_contains: A part of what it gives: maps may hold more keys.
        tries: How often nodes were tried in all.
    """

    status: str
    path: tuple[str, ...] | None = None
    handlers: tuple[str, ...] | None = None
    result: object = ANY
    result_contains: object = ANY
    error: ExpectedError | None = None
    logs: tuple[ExpectedLog, ...] = ()
    tries: Mapping[NodePath, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTest:
    """One test of a flow.

    Attributes:
        flow_mocks: Mocks for nodes of other flows, by the flow's name; as written, for that flow is not known here.
        now: What the clock shows at the start.
        cancel_after: Seconds after which somebody cancels the execution.
    """

    name: str
    input: Mapping[str, JSON] = field(default_factory=dict)
    mocks: Mapping[NodePath, Mock] = field(default_factory=dict)
    flow_mocks: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    signals: Mapping[str, tuple[GivenSignal, ...]] = field(default_factory=dict)
    approvals: Mapping[NodePath, tuple[GivenApproval, ...]] = field(default_factory=dict)
    cancel_after: float | None = None
    now: datetime = NOW
    expect: Expectation = field(default_factory=lambda: Expectation(status="completed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFault:
    """One thing wrong in the tests of a flow.

    Attributes:
        keys: Lead from the tests to the value.
        is_of_key: It is the key that is wrong, not the value.
    """

    keys: Keys
    code: str
    message: str
    hint: str | None = None
    is_of_key: bool = False


def read_tests(
    tests: Mapping[str, JSON], nodes: Mapping[str, JSON]
) -> tuple[Mapping[str, FlowTest], tuple[FoundFault, ...]]:
    """The tests of a flow by name, with everything that is wrong with them.

    Args:
        tests: As written in the document.
        nodes: The flow's nodes, as written.
    """
    reader = _Reader(nodes)
    return {name: reader.test(name, test, (name,)) for name, test in tests.items()}, tuple(reader.faults)


def read_mocks(
    mocks: Mapping[str, JSON], nodes: Mapping[str, JSON]
) -> tuple[Mapping[NodePath, Mock], tuple[FoundFault, ...]]:
    """Mocks for the nodes of a flow, with everything that is wrong with them."""
    reader = _Reader(nodes)
    return reader.mocks(mocks, ()), tuple(reader.faults)


def dotted_path(path: NodePath) -> str:
    """A node as tests name it: `push_all.push`."""
    return ".".join(path)


@dataclass(slots=True)
class _Reader:
    nodes: Mapping[str, JSON]
    faults: list[FoundFault] = field(default_factory=list)
    suggestions: Suggestions = field(default_factory=Suggestions)
    # Every node by the ways to name it: by its path, and by its name alone.
    by_path: dict[str, NodePath] = field(init=False)
    by_name: dict[str, list[NodePath]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_path, self.by_name = {}, {}
        for written, path in _paths(self.nodes, ()):
            self.by_path.setdefault(dotted_path(written), path)
            self.by_name.setdefault(written[-1], []).append(path)

    def test(self, name: str, test: JSON, at: Keys) -> FlowTest:
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            message = f"a test's name has 1 to {MAX_NAME_CHARACTERS} printable characters"
            self.fault(at, "test.name", message, is_of_key=True)
        if not isinstance(test, dict):
            self.fault(at, "type", "a test is a map: {input, mocks, expect}")
            return FlowTest(name=name)
        self.known_keys(test, at, TEST_KEYS)
        self.text_at(test, at, "description")
        secrets = self.map_at(test, at, "secrets")
        for key, value in secrets.items():
            if not isinstance(value, str):
                self.fault((*at, "secrets", key), "type", "a secret is text", "quote it")
        return FlowTest(
            name=name,
            input=self.map_at(test, at, "input"),
            mocks=self.mocks(self.map_at(test, at, "mocks"), (*at, "mocks")),
            flow_mocks=self.flow_mocks(test, at),
            secrets={key: str(value) for key, value in secrets.items()},
            signals={
                key: tuple(
                    self.signal(signal, where) for signal, where in self.one_or_more(given, (*at, "signals", key))
                )
                for key, given in self.map_at(test, at, "signals").items()
            },
            approvals=self.approvals(test, at),
            cancel_after=self.duration_at(test, at, "cancel_after"),
            now=self.moment_at(test, at, "now"),
            expect=self.expectation(test, at),
        )

    # Mocks

    def mocks(self, written: Mapping[str, JSON], at: Keys) -> Mapping[NodePath, Mock]:
        mocks: dict[NodePath, Mock] = {}
        for name, mock in written.items():
            path = self.node(name, (*at, name), is_of_key=True)
            if path in mocks:
                self.fault((*at, name), "mock.twice", f"'{_short(name)}' has a mock already", is_of_key=True)
            answers = tuple(self.answer(answer, where) for answer, where in self.one_or_more(mock, (*at, name)))
            if path is not None:
                mocks[path] = Mock(answers, repeats=not isinstance(mock, list))
        return mocks

    def flow_mocks(self, test: Mapping[str, JSON], at: Keys) -> Mapping[str, Mapping[str, JSON]]:
        at, found = (*at, "flows"), {}
        for name, flow in self.map_at(test, at[:-1], "flows").items():
            if not isinstance(flow, dict):
                self.fault((*at, name), "type", "must be a map: {mocks: {…}}")
                continue
            self.known_keys(flow, (*at, name), ("mocks",))
            found[name] = self.map_at(flow, (*at, name), "mocks")
            for node, mock in found[name].items():
                for answer, where in self.one_or_more(mock, (*at, name, "mocks", node)):
                    self.answer(answer, where)
        return found

    def answer(self, answer: JSON, at: Keys) -> MockedAnswer:
        if not isinstance(answer, dict):
            self.fault(at, "type", "a mock is a map: {result: …} or {error: …}", "write {result: …}")
            return MockedAnswer()
        self.known_keys(answer, at, MOCK_KEYS)
        if "error" in answer:
            for key in ("result", "action"):
                if key in answer:
                    self.fault((*at, key), "mock.both", f"'{key}' and 'error' exclude each other", is_of_key=True)
            return MockedAnswer(error=self.error(answer["error"], (*at, "error")))
        if "result" not in answer and "action" not in answer:
            self.fault(at, "required", "a mock has a 'result', an 'action' or an 'error'")
        return MockedAnswer(result=answer.get("result"), action=self.text_at(answer, at, "action"))

    def error(self, error: JSON, at: Keys) -> MockedError:
        if isinstance(error, str) and error:
            return MockedError(error, f"mocked: {error}")
        if not isinstance(error, dict):
            self.fault(at, "type", "an error is its type, or a map: {type, message, data}")
            return MockedError("mocked", "mocked")
        self.known_keys(error, at, ERROR_KEYS)
        type = self.text_at(error, at, "type")
        if not type:
            self.fault(at, "required", "an error has a 'type'", "such as http.503 or timeout")
        return MockedError(type or "mocked", self.text_at(error, at, "message") or f"mocked: {type}", error.get("data"))

    # What comes from outside

    def signal(self, signal: JSON, at: Keys) -> GivenSignal:
        if not isinstance(signal, dict):
            self.fault(at, "type", "a signal is a map: {payload, after}", "write {payload: …}")
            return GivenSignal(None)
        self.known_keys(signal, at, SIGNAL_KEYS)
        return GivenSignal(signal.get("payload"), self.duration_at(signal, at, "after"))

    def approvals(self, test: Mapping[str, JSON], at: Keys) -> Mapping[NodePath, tuple[GivenApproval, ...]]:
        at, found = (*at, "approvals"), {}
        for name, given in self.map_at(test, at[:-1], "approvals").items():
            path = self.node(name, (*at, name), is_of_key=True, type="approval")
            answers = tuple(self.approval(answer, where) for answer, where in self.one_or_more(given, (*at, name)))
            if path is not None:
                found[path] = answers
        return found

    def approval(self, answer: JSON, at: Keys) -> GivenApproval:
        if not isinstance(answer, dict):
            self.fault(at, "type", "an answer is a map: {approved: true}")
            return GivenApproval(False, "")
        self.known_keys(answer, at, APPROVAL_KEYS)
        if not isinstance(answer.get("approved"), bool):
            place = (*at, "approved") if "approved" in answer else at
            self.fault(place, "type", "'approved' is true or false")
        return GivenApproval(
            answer.get("approved") is True,
            self.text_at(answer, at, "by") or "somebody",
            answer.get("data"),
            self.duration_at(answer, at, "after"),
        )

    # What is to come of it

    def expectation(self, test: Mapping[str, JSON], at: Keys) -> Expectation:
        at, expect = (*at, "expect"), self.map_at(test, at, "expect")
        self.known_keys(expect, at, EXPECT_KEYS)
        error = self.expected_error(expect["error"], (*at, "error")) if "error" in expect else None
        status = expect.get("status", "completed" if error is None else "failed")
        if not isinstance(status, str) or status not in STATUSES:
            self.fault(
                (*at, "status"),
                "enum",
                f"must be one of: {', '.join(STATUSES)}",
                self.suggestions.did_you_mean(str(status), STATUSES),
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
        """Only a flow that completed has a result, and only one that failed an error."""
        has = {"completed": ("result", "result_contains"), "failed": ("error",)}.get(status, ())
        for key, what in (("result", "result"), ("result_contains", "result"), ("error", "error")):
            if key in expect and key not in has:
                self.fault((*at, key), "expect.both", f"a flow that is {status} has no {what}", is_of_key=True)

    def expected_error(self, error: JSON, at: Keys) -> ExpectedError:
        if isinstance(error, str):
            return ExpectedError(type=error)
        if not isinstance(error, dict):
            self.fault(at, "type", "an error is its type, or a map: {type, message, node}")
            return ExpectedError()
        self.known_keys(error, at, EXPECTED_ERROR_KEYS)
        return ExpectedError(
            type=self.text_at(error, at, "type"),
            message=self.text_at(error, at, "message"),
            node=self.text_at(error, at, "node"),
        )

    def names_at(self, expect: Mapping[str, JSON], at: Keys, key: str) -> tuple[str, ...] | None:
        if key not in expect:
            return None
        names, at = expect[key], (*at, key)
        if not isinstance(names, list):
            self.fault(at, "type", "must be a list of nodes")
            return None
        found = []
        for index, name in enumerate(names):
            if not isinstance(name, str) or name not in self.nodes:
                inside = self.by_name.get(name, []) if isinstance(name, str) else []
                hint = "only nodes that stand in no other node make up a path" if inside else None
                message = f"'{_short(str(name))}' is not a node of this flow"
                self.fault(
                    (*at, index), "test.node", message, hint or self.suggestions.did_you_mean(str(name), self.nodes)
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
                self.fault(where, "type", "a line is a part of its message, or a map: {level, message}")
                continue
            self.known_keys(line, where, EXPECTED_LOG_KEYS)
            level = line.get("level")
            if level is not None and level not in LOG_LEVELS:
                self.fault((*where, "level"), "enum", f"must be one of: {', '.join(sorted(LOG_LEVELS))}")
            yield ExpectedLog(self.text_at(line, where, "message") or "", str(level) if level is not None else None)

    def tries(self, expect: Mapping[str, JSON], at: Keys) -> Mapping[NodePath, int]:
        at, found = (*at, "tries"), {}
        for name, count in self.map_at(expect, at[:-1], "tries").items():
            path = self.node(name, (*at, name), is_of_key=True)
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                self.fault((*at, name), "type", "must be a whole number")
            elif path is not None:
                found[path] = count
        return found

    # Values

    def node(self, name: str, at: Keys, *, is_of_key: bool, type: str | None = None) -> NodePath | None:
        """The node that is named by its path, or by its name where only one has it."""
        path = self.by_path.get(name)
        if path is None:
            named = self.by_name.get(name, [])
            if len(named) > 1:
                paths = ", ".join(dotted_path(p) for p in named[:10])
                self.fault(
                    at, "test.node", f"several nodes are called '{_short(name)}'", f"name one: {paths}",
                    is_of_key=is_of_key,
                )  # fmt: skip
                return None
            path = named[0] if named else None
        if path is None:
            known = {*self.by_path, *self.by_name}
            hint = self.suggestions.did_you_mean(name, known)
            self.fault(at, "test.node", f"'{_short(name)}' is not a node of this flow", hint, is_of_key=is_of_key)
        elif type is not None and (node := _node_at(self.nodes, path)) is not None and node.get("type") != type:
            self.fault(at, "test.node", f"'{_short(name)}' is no node of type {type}", is_of_key=is_of_key)
            return None
        return path

    def one_or_more(self, value: JSON, at: Keys) -> list[tuple[JSON, Keys]]:
        if not isinstance(value, list):
            return [(value, at)]
        if not 0 < len(value) <= MOST_ANSWERS:
            self.fault(at, "range", f"must have 1 to {MOST_ANSWERS} entries")
        return [(item, (*at, index)) for index, item in enumerate(value)]

    def map_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> Mapping[str, JSON]:
        value = parent.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.fault((*at, key), "type", "must be a map")
        return {}

    def text_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> str | None:
        value = parent.get(key)
        if value is not None and not isinstance(value, str):
            self.fault((*at, key), "type", "must be text")
            return None
        return value

    def duration_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> float | None:
        value = parent.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault((*at, key), "type", "must be a duration", DURATION_HINT)
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fault((*at, key), "duration", str(error))
            return None

    def moment_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> datetime:
        value = parent.get(key)
        if value is None:
            return NOW
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
            # Delays of ten years have room before the calendar ends.
            if moment is not None and moment.tzinfo is not None and 1 < moment.year < 9000:
                return moment.astimezone(UTC)
        except ValueError:
            pass
        self.fault((*at, key), "moment", "must be a moment with its time zone", "such as 2027-01-31T08:00:00Z")
        return NOW

    def known_keys(self, value: Mapping[str, JSON], at: Keys, known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known and not key.startswith("x-"):
                hint = self.suggestions.did_you_mean(key, known) or f"known keys: {', '.join(known)}, x-…"
                self.fault((*at, key), "unknown_key", f"unknown key '{_short(key)}'", hint, is_of_key=True)

    def fault(self, keys: Keys, code: str, message: str, hint: str | None = None, *, is_of_key: bool = False) -> None:
        self.faults.append(FoundFault(keys=keys, code=code, message=message, hint=hint, is_of_key=is_of_key))


def _paths(nodes: Mapping[str, JSON], around: NodePath) -> Iterator[tuple[NodePath, NodePath]]:
    """Every node written: its path as people see it, and as it runs."""
    for name, node in nodes.items():
        path = (*around, name)
        if not isinstance(node, dict):
            yield path, path
            continue
        # An older form of a loop around the node, which the reader makes one.
        yield path, (*path, name) if node.get("batch") is not None else path
        for key, inner in inner_nodes(node):
            yield from _paths(inner, (*path, *key))


def _node_at(nodes: Mapping[str, JSON], path: NodePath) -> Mapping[str, JSON] | None:
    """The node that is written at a path, as it runs; None where that is inside a node of an older form."""

    def look(inside: Mapping[str, JSON], left: NodePath) -> Mapping[str, JSON] | None:
        node = inside.get(left[0])
        if not isinstance(node, dict):
            return None
        if len(left) == 1 or node.get("batch") is not None:
            return node
        for key, inner in inner_nodes(node):
            rest = left[1:]
            if rest[: len(key)] == key and len(rest) > len(key) and (found := look(inner, rest[len(key) :])):
                return found
        return None

    return look(nodes, path)


def _short(text: str) -> str:
    return text[:60]
