"""Older names, with the current ones."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.flow import DEFAULT_ACTION
from flowrunner.domain.values import JSON

# Keys of a node that have no current name.
NODE_KEYS: Final = ("hooks", "batch")
RETRY: Final[Mapping[str, str]] = {"max_retries": "max", "wait": "delay"}
HTTP_ACTIONS: Final[Mapping[str, str]] = {
    "success": DEFAULT_ACTION, "client_error": "error.http.4xx", "server_error": "error.http.5xx",
}  # fmt: skip
# Node types that send requests. Other types with an action of such a name are newer.
REQUESTS: Final = ("http.request", "webhook")
# Node types with a parameter `timeout` that may be a number of seconds.
WITH_TIMEOUT: Final = ("http.request", "wait")
# Node types that are only called otherwise.
TYPES: Final[Mapping[str, str]] = {"postgres": "sql"}
# Parameters by node type.
PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = {"http.request": {"follow_redirect": "follow_redirects"}}
# Names that expressions in parameters start from.
PARAMETER_NAMES: Final[Mapping[str, str]] = {"result": "input"}
# Earlier versions had the type `wait` for what is `delay` now.
WAIT: Final = "wait"
DELAY: Final = "delay"


def type_of(node: Mapping[str, JSON]) -> JSON:
    """Return the current type of a node as written."""
    written, params = node.get("type"), node.get("params")
    if written == WAIT and isinstance(params, dict) and "duration" in params and "key" not in params:
        return DELAY
    return TYPES.get(written, written) if isinstance(written, str) else written
