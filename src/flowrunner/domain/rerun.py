"""The events that a rerun keeps of the execution that it repeats.

A rerun keeps everything that does not depend on the step at which it starts: in the step's own scope and the scopes
around it, the events before the step; in the scopes beside it (other elements of a loop, other branches), the events of
ended steps; and the signals that came before the step and that no step had taken by then.

A rerun of the failed elements of a loop starts inside the loop's step: it keeps that the elements were opened, and
everything in those that completed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from flowrunner.domain.causes import Requested
from flowrunner.domain.decide import decide
from flowrunner.domain.decisions import Start
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.events import (
    HANDLERS,
    ROOT,
    Admitted,
    Cancelled,
    Completed,
    Event,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.flow import Flow, Node, graph_at
from flowrunner.domain.transitions import replay
from flowrunner.domain.waits import parse_signal_key

Timed = tuple[Event, datetime]


class NoSuchStep(FlowRunnerError):
    """The execution has not reached the step at which a rerun should start."""


class NoFailedElements(FlowRunnerError):
    """The step at which a rerun should start has no elements that could run again by themselves."""


def find_step(events: Sequence[Timed], name: str) -> Step:
    """Return the step named ``name``: a full name (`each.1[4]/push.1`), or a node, which means its latest run.

    Raises:
        NoSuchStep.
    """
    steps = [e.step for e, _ in events if isinstance(e, NodeStarted) and e.attempt == 1]
    exact = next((step for step in steps if str(step) == name), None)
    if exact is not None:
        return exact
    named = [step for step in steps if step.node == name and step.scope.partition("/")[0] not in HANDLERS]
    if not named:
        raise NoSuchStep(f"The execution has not reached a step '{name}'")
    return named[-1]


def kept_before(events: Sequence[Timed], start: Step) -> list[Timed]:
    """Return the events that follow `Started` in an execution that continues at ``start``."""
    first = _beginning(events, start)
    around = {ROOT, start.scope, *_scopes_around(start.scope)}
    early = _early_signals(events[:first])
    kept = [
        (event, at)
        for index, (event, at) in enumerate(events)
        if index in early or _is_kept(event, around, is_before=index < first)
    ]
    return _without_open_steps(kept, around)


def kept_elements(events: Sequence[Timed], loop: Step) -> list[Timed]:
    """Return the events that follow `Started` in an execution that runs the failed elements of ``loop`` again.

    Elements that were cancelled or have not begun run too, and what follows the loop. Of an agent these are its last
    question or calls alone: the questions after earlier calls have been told how those ended.

    Raises:
        NoFailedElements.
    """
    first = _beginning(events, loop)
    opened = [event for event, _ in events if isinstance(event, ScopesOpened) and _step(event) == loop]
    if not opened or opened[-1].needed < len(opened[-1].keys):
        raise NoFailedElements(f"'{loop}' is no loop whose elements run again one by one")
    if opened[-1].keeps_results:
        del opened[:-1]
    completed = {e.scope for e, _ in events if isinstance(e, ScopeEnded) and e.outcome == "completed"}
    again = {scope for event in opened for key in event.keys if (scope := loop.child_scope(key)) not in completed}
    if not again:
        raise NoFailedElements(f"All elements of '{loop}' have completed")
    around = {ROOT, loop.scope, *_scopes_around(loop.scope)}
    early = _early_signals(events[:first])
    kept = [
        (event, at)
        for index, (event, at) in enumerate(events)
        if index in early
        or _opens(event, loop)
        or (_is_kept(event, around, is_before=index < first) and getattr(event, "scope", ROOT) not in again)
    ]
    return _without_open_steps(kept, around | again)


def _beginning(events: Sequence[Timed], start: Step) -> int:
    """Return the index of the first event of a step."""
    return next(
        index for index, (event, _) in enumerate(events) if isinstance(event, NodeStarted) and _step(event) == start
    )


def _opens(event: Event, loop: Step) -> bool:
    """Return whether an event belongs to the step of a loop and does not end it."""
    if isinstance(event, NodeFailed):
        return event.retry_at is not None and _step(event) == loop
    return isinstance(event, NodeStarted | ScopesOpened) and _step(event) == loop


def _early_signals(events: Sequence[Timed]) -> set[int]:
    """Return the indexes of the signals that no step has taken after these events."""
    left = {
        key: len(payloads)
        for key, payloads in replay(events).signals.items()
        if parse_signal_key(key)[0] == "signal"
    }  # fmt: skip
    found = set()
    # Of one key, the signal that came first is taken first.
    for index in range(len(events) - 1, -1, -1):
        event = events[index][0]
        if isinstance(event, SignalReceived) and left.get(event.key, 0):
            left[event.key] -= 1
            found.add(index)
    return found


def with_time_left(kept: Sequence[Timed], now: datetime) -> list[Timed]:
    """Return the kept events with new time limits of the loops that go on: each has the time that it had left."""
    ended = {_step(event) for event, _ in kept if _ends(event)}
    return [
        (replace(event, until=now + (event.until - at)), at)
        if isinstance(event, ScopesOpened) and event.until is not None and _step(event) not in ended
        else (event, at)
        for event, at in kept
    ]


def with_input(kept: Sequence[Timed], edited: InputEdited, at: datetime) -> list[Timed]:
    """Return the kept events with another input of the step that starts next."""
    others = [(event, kept_at) for event, kept_at in kept if not _edits(event, edited.step)]
    return [*others, (edited, at)]


def _edits(event: Event, step: Step) -> bool:
    return isinstance(event, InputEdited) and event.step == step


def misfit(kept: Sequence[Timed], start: Step, flow: Flow) -> str | None:
    """Return why ``flow`` cannot continue at ``start`` after the kept events; None if it can."""
    for event, _ in kept:
        if isinstance(event, NodeStarted | ScopesOpened):
            node = _node_at(flow, _step(event))
            if node is None or node.type != event.node_type:
                return f"it has no {_named(_step(event))} of type {event.node_type}, whose result would be kept"
            for key in event.keys if isinstance(event, ScopesOpened) else ():
                if not node.child_scopes.keys() & {key, ""}:
                    return f"its {_named(_step(event))} has no branch '{key}', whose result would be kept"
    if _node_at(flow, start) is None:
        return f"it has no {_named(start)} to start at"
    try:
        next_steps = _next_steps(kept, flow)
    except Exception as error:  # any error of the pair is reported as a misfit, not raised
        return f"it cannot continue after the kept events ({error})"
    # The scopes of a loop begin one after the other, so that a step inside one may start later.
    if start.scope == ROOT and start not in next_steps and any(_edits(event, start) for event, _ in kept):
        return f"the kept results do not lead to its {_named(start)}, whose input was edited"
    return None


def _next_steps(kept: Sequence[Timed], flow: Flow) -> list[Step]:
    """Return the steps that start after the kept events.

    Raises: any error of the replay or the decision if the events do not fit the flow.
    """
    first = flow.nodes[flow.start]
    now = max((at for _, at in kept), default=datetime.min.replace(tzinfo=UTC))
    started = Started(node=first.name, node_type=first.type, input=None, cause=Requested(by=None))
    decisions = decide(flow, replay([(started, now), *kept]), running=(), now=now)
    return [_step(decision.event) for decision in decisions if isinstance(decision, Start)]


def _named(step: Step) -> str:
    return f"node '{step.node}'" + (f" in {step.scope}" if step.scope else "")


def _node_at(flow: Flow, step: Step) -> Node | None:
    graph = graph_at({ROOT: flow, **dict.fromkeys(HANDLERS, flow)}, step.scope)
    return None if graph is None else graph.nodes.get(step.node)


def _is_kept(event: Event, around: set[str], *, is_before: bool) -> bool:
    match event:
        case Started() | Admitted() | SignalReceived() | Completed() | Failed() | Cancelled():
            return False
        case ScopeEnded(scope=scope):
            # A scope around the step is open again.
            return scope not in around and scope not in HANDLERS
        case Logged(iteration=None):
            # About the execution as a whole.
            return False
        case Logged(scope=scope):
            return is_before or (scope not in around and not _is_handler(scope))
        case _:
            return (is_before or event.scope not in around) and not _is_handler(event.scope)


def _is_handler(scope: str) -> bool:
    return scope.partition("/")[0].partition("[")[0] in HANDLERS


def _scopes_around(scope: str) -> Iterator[str]:
    """Yield the scopes that contain a scope: `a.1[0]` for `a.1[0]/b.1[2]`."""
    while "/" in scope:
        scope = scope.rpartition("/")[0]
        yield scope


def _without_open_steps(events: Sequence[Timed], around: set[str]) -> list[Timed]:
    """Return the events without those of steps that had not ended, which run again, and of the scopes inside them."""
    ended = {_step(e) for e, _ in events if _ends(e)}
    opened = {_step(e) for e, _ in events if isinstance(e, ScopesOpened)}
    over = {str(step) for step in ended}
    kept: list[Timed] = []
    alive: set[str] = {ROOT}
    # A loop that opens its scopes one by one opens the later ones only if the earlier ones are kept.
    may_begin: set[str] = set()
    # The owner of a scope around the start stays open.
    owners_around = {_owner(scope) for scope in around if scope}
    for event, at in events:
        if isinstance(event, ScopeEnded):
            # A cancelled scope runs again, unless its owner has ended without it.
            if event.scope in alive and (event.outcome != "cancelled" or _owner(event.scope) in over):
                kept.append((event, at))
                alive.discard(event.scope)
            continue
        scope = getattr(event, "scope", ROOT)
        if scope not in alive and not (isinstance(event, NodeStarted | InputEdited) and scope in may_begin):
            continue
        if isinstance(event, Logged | InputEdited | SignalReceived):
            kept.append((event, at))
            continue
        step = _step(event)
        is_open_around = str(step) in owners_around and step in opened
        if step in ended or is_open_around:
            alive.add(scope)
            kept.append((event, at))
            if isinstance(event, ScopesOpened):
                may_begin.update(step.child_scope(key) for key in event.keys)
    return kept


def _owner(scope: str) -> str:
    """Return the full name of the step that owns a scope."""
    return scope.rpartition("[")[0]


def _ends(event: Event) -> bool:
    return isinstance(event, NodeCompleted) or (isinstance(event, NodeFailed) and event.retry_at is None)


def _step(event: Event) -> Step:
    assert isinstance(event, NodeStarted | NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened), (
        "other events belong to no step"
    )
    return event.step
