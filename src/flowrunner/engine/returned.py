"""Checks of what node types return: what could not be stored, read again or brought to its end is a bug of the type."""

import re
from datetime import datetime
from typing import Final

import msgspec

from flowrunner.domain.counted import counted
from flowrunner.domain.flow import Node
from flowrunner.plugin import ApprovalWait, ChildWait, RunScopes, SignalWait, Suspend, TimeWait

# Keys are part of the names of steps, such as `each.1[4]/push.1`.
_NO_KEY: Final = re.compile(r"[]/[]")


def check_wait(suspend: Suspend) -> None:
    """Raises: TypeError; msgspec.ValidationError for a field of another type."""
    wait = suspend.wait_for
    if not isinstance(wait, SignalWait | ApprovalWait | ChildWait | TimeWait):
        raise TypeError(f"'wait_for' of Suspend is no wait: {type(wait).__name__}")
    msgspec.convert(msgspec.to_builtins(wait), type(wait))
    for moment in (suspend.deadline, wait.moment if isinstance(wait, TimeWait) else None):
        _check_moment(moment)


def check_scopes(node: Node, scopes: RunScopes) -> None:
    """Raises: ValueError, TypeError."""
    keys = scopes.keys
    if len(keys) != len(scopes.inputs):
        raise ValueError(f"RunScopes has {counted(len(keys), 'key')} and {counted(len(scopes.inputs), 'input')}")
    if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise ValueError("the keys of RunScopes must be different texts")
    # A loop has one scope, whose runs have any keys.
    is_loop = "" in node.child_scopes
    for key in keys:
        if _NO_KEY.search(key) if is_loop else key not in node.child_scopes:
            raise ValueError(f"the node has no scope for the key {key!r} of RunScopes")
    if scopes.starts and (
        len(scopes.starts) != len(keys)
        or any(start not in node.scope(key).nodes for key, start in zip(keys, scopes.starts, strict=True))
    ):
        raise ValueError("'starts' of RunScopes names no node of the scope for each of its keys")
    if scopes.concurrency < 1 or not 0 <= (scopes.needed or 0) <= len(keys):
        raise ValueError(
            f"RunScopes would not end: {scopes.concurrency} at a time, {scopes.needed} needed of {len(keys)}"
        )
    _check_moment(scopes.not_before)


def _check_moment(moment: object) -> None:
    if moment is not None and not (isinstance(moment, datetime) and moment.tzinfo is not None):
        raise TypeError("a moment of Suspend or RunScopes must be a datetime with a time zone")
