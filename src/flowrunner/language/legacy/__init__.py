"""Older forms of documents.

`modernize` rewrites a document to the current form after it was parsed and before it is read. Everything that has moved
keeps its place, so that faults name the line and the keys of the document. Rewritten are

- `batch`, to a node of type foreach around the node;
- the type `wait` with a `duration`, to `delay`, and the type `postgres`, to `sql`;
- a `timeout` that is a number, to a duration in seconds;
- the keys `max_retries` and `wait` of `retry`, the parameter `follow_redirect` of requests, also in their hooks, and
  the edges `success`, `client_error` and `server_error` of requests, to their current names.

Three forms cannot be rewritten without a difference that users see:

- `hooks` run within the step of their node: between its parameters and its work, and between its work and its
  `output`. Nodes of their own would be steps of their own, with log lines, results and retries. They are read by
  `read_hooks`, and the engine runs them.
- `condition` may end with an action that its script computes, or with the action `error`, and `switch` with neither.
  Its name stands in the events of executions, which a rerun compares with the flow. It stays a node type.
- `result`, within `params` the older name of `input`, stands in expressions, and errors quote these as they were
  written. The reader of expressions gives it the value of `input`.

Tests of a flow are read as they were written, because they call nodes by their names in the document.
"""

from flowrunner.language.legacy.batch import runs_in_loop
from flowrunner.language.legacy.hooks import read_hooks
from flowrunner.language.legacy.names import (
    DELAY,
    NODE_KEYS,
    PARAMETER_NAMES,
    PARAMETERS,
    RETRY,
    WAIT,
    WITH_TIMEOUT,
    type_of,
)
from flowrunner.language.legacy.rewriting import modernize

__all__ = [
    "DELAY",
    "NODE_KEYS",
    "PARAMETERS",
    "PARAMETER_NAMES",
    "RETRY",
    "WAIT",
    "WITH_TIMEOUT",
    "modernize",
    "read_hooks",
    "runs_in_loop",
    "type_of",
]
