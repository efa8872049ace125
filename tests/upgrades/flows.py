"""Flows of every kind whose executions can stay open, with the inputs that finish them."""

from dataclasses import dataclass
from typing import Final

_NOBODY: Final = "http://127.0.0.1:1/"


@dataclass(frozen=True, slots=True)
class Open:
    """An execution that is left open.

    Attributes:
        waits_at: The steps that wait for an input from outside, which show that the execution has reached them.
        result: The result of the execution; None if it is not checked.
    """

    flow: str
    waits_at: tuple[str, ...] = ()
    approves: bool = False
    result: object = None


FLOWS: Final[dict[str, Open]] = {
    "delay": Open(
        "nodes: {d: {type: delay, params: {duration: 5s}, next: r}, r: {type: return, params: {value: 1}}}", result=1
    ),
    "retry": Open(
        f"nodes: {{h: {{type: http.request, params: {{url: '{_NOBODY}'}},"
        " retry: {max: 2, delay: 5s, jitter: 0}, next: {error: r}},"
        " r: {type: return, params: {value: '${error.type}'}}}",
        result="connection.refused",
    ),
    "wait": Open("nodes: {w: {type: wait, params: {key: go}}}", ("w",), result={"a": 1}),
    "approval": Open(
        "nodes: {a: {type: approval, params: {prompt: Well?}, next: {approved: r, rejected: f}},"
        " r: {type: return, params: {value: yes}}, f: {type: fail, params: {message: no}}}",
        ("a",), approves=True, result="yes",
    ),
    "child": Open("nodes: {w: {type: wait, params: {key: go}}}", ("w",), result={"a": 1}),
    "sub-flow": Open("nodes: {c: {type: flow, params: {flow: child}}}"),
    "foreach": Open(
        "nodes: {e: {type: foreach, params: {items: [1, 2], concurrency: 2},"
        " nodes: {w: {type: wait, params: {key: 'go${item}'}}}}}",
        ("w",),
    ),
    "parallel": Open(
        "nodes: {p: {type: parallel, branches: {one: {nodes: {w: {type: wait, params: {key: go}}}},"
        " two: {nodes: {s: {type: log, params: {message: two}}}}}}}",
        ("w",),
    ),
    "queued": Open(
        "limits: {concurrency: {max: 1}}\nnodes: {w: {type: wait, params: {key: go}}}", ("w",), result={"a": 1}
    ),
    "secret": Open(
        "nodes: {w: {type: wait, params: {key: go}, next: r},"
        " r: {type: return, params: {value: '${secrets.KEY.length}'}}}",
        ("w",), result=8,
    ),
}  # fmt: skip
SECRET: Final = ("KEY", "kept-wel")
