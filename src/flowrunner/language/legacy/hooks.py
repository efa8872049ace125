"""Hooks of nodes: JavaScript that runs before a node, instead of it, and after it."""

import re
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.expression import OUTPUT_NAMES, PARAMETER_NAMES, Code, Value
from flowrunner.domain.expression.script import Script
from flowrunner.domain.flow import Hooks
from flowrunner.domain.prepared import Prepared, prepared
from flowrunner.domain.values import JSON
from flowrunner.language.context import ScopeContext
from flowrunner.language.expressions import BODY, Expressions
from flowrunner.language.yaml_source import Keys

_NAMES: Final = {"prep": PARAMETER_NAMES, "exec": PARAMETER_NAMES, "post": OUTPUT_NAMES}
# These hooks may change the object in place instead of returning it.
_CHANGED: Final = {"prep": "context", "post": "result"}


def with_current_names(hooks: JSON, names: Mapping[str, str]) -> JSON:
    """Return the hooks with the current names of parameters, which their scripts read and change.

    Args:
        names: Current names by older names.
    """
    if not isinstance(hooks, dict):
        return hooks
    word = re.compile(rf"(?<![\w$])(?:{'|'.join(names)})(?![\w$])")
    return {
        key: word.sub(lambda found: names[found[0]], script) if isinstance(script, str) else script
        for key, script in hooks.items()
    }


def read_hooks(node: Mapping[str, JSON], at: Keys, expressions: Expressions, context: ScopeContext) -> Hooks | None:
    if node.get("hooks") is None:
        return None
    document = expressions.document
    written, at = document.map_at(node, at, "hooks"), (*at, "hooks")
    document.known_keys(written, at, tuple(_NAMES))
    hooks = {}
    for key, names in _NAMES.items():
        script, changed = written.get(key), _CHANGED.get(key)
        if script is None:
            continue
        if not isinstance(script, str):
            document.fault((*at, key), "type", "must be JavaScript, as text")
            continue
        hook = expressions.template(script, (*at, key), names | {"context"}, context, BODY, changed=changed)
        hooks[key] = hook if changed is None else _with_change(hook, changed)
    return Hooks(**hooks)


def _with_change(hook: Prepared, name: str) -> Prepared:
    """Return the hook so that it returns the changed ``name`` if the script returns nothing."""
    match hook.template:
        case Value(Code(text, script, place, references)):
            source = (
                f"return (($given) => $given === undefined ? {name} : $given)((function () {{{script.source}\n}})())"
            )
            return prepared(Value(Code(text, Script(source, is_body=True), place, references)))
        case _:
            return hook
