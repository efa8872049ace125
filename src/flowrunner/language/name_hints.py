"""Hints for unknown names in expressions."""

import re
from collections.abc import Mapping
from typing import Final

from flowrunner.language.context import ScopeContext

_NO_MODULES: Final = "scripts have no modules and no network: ask a server with a node of type http.request"
_NO_ENVIRONMENT: Final = (
    "there is no environment: put values under 'vars', those that differ between workspaces into their configuration"
    " as ${config.NAME}, and name secrets as ${secrets.NAME}"
)
_IN_LOOPS: Final = "it is there only in the nodes of a loop"
_BY_NAME: Final[Mapping[str, str]] = {
    # Python and similar languages.
    "and": "JavaScript writes && for 'and'",
    "or": "JavaScript writes || for 'or'",
    "not": "JavaScript writes ! for 'not'",
    "is": "JavaScript writes === for 'is'",
    "None": "JavaScript writes null",
    "nil": "JavaScript writes null",
    "True": "JavaScript writes true",
    "False": "JavaScript writes false",
    "len": "JavaScript writes x.length",
    "str": "JavaScript writes String(x)",
    "int": "JavaScript writes Math.trunc(x)",
    "float": "JavaScript writes Number(x)",
    "print": "JavaScript writes console.log(x)",
    # Browsers and Node.js.
    **dict.fromkeys(("require", "fetch", "axios", "XMLHttpRequest", "module", "exports", "Buffer"), _NO_MODULES),
    **dict.fromkeys(("env", "process", "ENV", "environ", "os"), _NO_ENVIRONMENT),
    **dict.fromkeys(("setTimeout", "setInterval", "sleep"), "there are no timers: wait with a node of type delay"),
    # Other systems that run flows.
    **dict.fromkeys(("always", "failure", "success", "cancelled"), "name a node in 'on_finish' or 'on_failure'"),
    "item": _IN_LOOPS,
    "index": _IN_LOOPS,
    "result": "what a node gave is nodes.<name>.result; its own result is there only in 'output' and 'hooks.post'",
    # Names of earlier versions.
    "results": "what a node gave is nodes.<name>.result",
    "shared": "what a node gave is nodes.<name>.result, and what a node of type set keeps is vars.<name>",
}
# `input.first-name` is `input.first` minus `name`. Each path is matched once, from its beginning.
_DASHED_MEMBER: Final = re.compile(r"(?<![\w$.])([A-Za-z_$][\w$]*(?:\.[\w$]+)*?)\.(\w+(?:-\w+)+)")
# What a workspace has by name.
_NAMED: Final[Mapping[str, str]] = {"secrets": "secret", "config": "configuration value"}
_DASHED: Final = re.compile(r"\bnodes\.(\w+(?:-\w+)+)")


def cut_at_a_dash(name: str, text: str) -> str | None:
    """Return the path that JavaScript reads before the dash of a name, such as `nodes.get` of `nodes.get-user`.

    Args:
        name: Unknown name of the expression ``text`` that it reads after the dash.
    """
    member = _DASHED_MEMBER.search(text)
    if member is None or name not in (parts := member[2].split("-"))[1:]:
        return None
    return f"{member[1]}.{parts[0]}"


def hint_for(name: str, text: str, context: ScopeContext) -> str | None:
    """Return what to write instead of an unknown name, or None if only similar names can be suggested.

    Args:
        name: First name of the expression ``text``.
    """
    # `nodes.get-user.result` takes `user` away from `nodes.get`.
    if (dashed := _DASHED.search(text)) is not None and dashed[1] in context.visible:
        return f'write nodes["{dashed[1]}"]'
    if (member := _DASHED_MEMBER.search(text)) is not None and name in member[2].split("-")[1:]:
        if (kind := _NAMED.get(member[1])) is not None:
            return f"the name of a {kind} has no '-': write ${{{member[1]}.{member[2].replace('-', '_')}}}"
        return f'write {member[1]}["{member[2]}"], if that is one name'
    if context.inputs is not None and name in context.inputs:
        return f"did you mean 'flow.input.{name}'?"
    if name in context.visible:
        return f"did you mean 'nodes.{name}.result'?"
    if name in context.variables:
        return f"did you mean 'vars.{name}'?"
    return _BY_NAME.get(name)
