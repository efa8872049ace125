"""Objects of a server by name, by id, or by the beginning of their id."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from flowrunner.cli.common import CommandFailed
from flowrunner.cli.exits import INVALID, NOT_FOUND
from flowrunner.ids import time_of

if TYPE_CHECKING:
    from flowrunner.client import Client

_ID: Final = re.compile(r"[a-z]+-[0-9a-z]{36}")
# Fewer digits would name whatever is the only object of its kind.
_LEAST_DIGITS: Final = 4
_BEGINNING: Final = re.compile(rf"[a-z]+-[0-9a-z]{{{_LEAST_DIGITS},36}}")
# Of Crockford's base 32.
_DIGITS: Final = re.compile(rf"[0-9a-hjkmnp-tv-z]{{{_LEAST_DIGITS},36}}")
_DIGITS_OF_TIME: Final = 10
# Those of the year 2200: a server takes no time of a far future.
_LATEST: Final = "06k7ms3a00"
_MOST_SHOWN: Final = 5
# Commands that list objects, where it is not the one with their name.
_LISTS: Final = {
    "execution": "executions list", "member": "workspace members list WORKSPACE",
    "invitation": "workspace invitations list WORKSPACE",
}  # fmt: skip
# Names among which a similar one is looked for.
_MOST_COMPARED: Final = 500


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def flow_id(client: "Client", given: str) -> str:
    """Return the id of a flow that is named by id, by name, or by the beginning of its id."""
    if is_id(given):
        return given
    named = list(client.entries("/flows", query={"name": given}, most=2)) if given else []
    if not named and _BEGINNING.fullmatch(given):
        named = [flow for flow in client.entries("/flows") if flow["id"].startswith(given)]
    if not named:
        raise CommandFailed(f"There is no flow '{given}'{_similar(client, given)}", NOT_FOUND)
    return only("flow", given, named)


def flow_path(client: "Client", given: str) -> str:
    return f"/flows/{flow_id(client, given)}"


def _similar(client: "Client", given: str) -> str:
    """Return the advice about a name that no flow has: the name that was meant, if there is one."""
    import difflib

    names = {str(flow["name"]).casefold(): str(flow["name"]) for flow in client.entries("/flows", most=_MOST_COMPARED)}
    close = difflib.get_close_matches(given.casefold(), names, n=1)
    return f"; do you mean '{names[close[0]]}'?" if close else ": 'flowrunner flow list' shows the names"


def execution_id(client: "Client", given: str) -> str:
    """Return the id of an execution that is named by id or by its beginning, which holds the time of its start."""
    if is_id(given):
        return given
    digits = given.removeprefix("exec-")
    if _DIGITS.fullmatch(digits) is None:
        raise CommandFailed(f"There is no execution '{given}': 'flowrunner executions list' shows them", NOT_FOUND)
    beginnings = (digits[:_DIGITS_OF_TIME].ljust(_DIGITS_OF_TIME, missing) for missing in "0z")
    since, until = (time_of(min(beginning, _LATEST)) for beginning in beginnings)
    query = {"since": since.isoformat(), "until": (until + timedelta(milliseconds=1)).isoformat()}
    found = client.entries("/executions", query=query, most=1000)
    return only("execution", given, (one for one in found if one["id"].startswith(f"exec-{digits}")))


def execution_path(client: "Client", given: str) -> str:
    return f"/executions/{execution_id(client, given)}"


def object_id(client: "Client", path: str, what: str, given: str) -> str:
    """Return the id of an entry of a list that is named by id, by name, or by the beginning of its id."""
    if is_id(given):
        return given
    entries = list(client.entries(path))
    found = [
        one for one in entries if given and given in (one["id"], one.get("name"), one.get("slug"), one.get("email"))
    ]
    if not found and _BEGINNING.fullmatch(given):
        found = [one for one in entries if one["id"].startswith(given)]
    # The deliveries of a callback, or of a trigger.
    command = f"{path.split('/')[1].removesuffix('s')} deliveries" if what == "delivery" else None
    return only(what, given, found, command)


def trigger_id(client: "Client", given: str) -> str:
    """Return the id of a trigger, which `FLOW/NAME` names too."""
    flow, slash, name = given.rpartition("/")
    if not slash:
        return object_id(client, "/triggers", "trigger", given)
    triggers = client.entries("/triggers", query={"flow_id": flow_id(client, flow)})
    return only("trigger", given, (one for one in triggers if one["name"] == name))


def trigger_path(client: "Client", given: str) -> str:
    return f"/triggers/{trigger_id(client, given)}"


def only(what: str, given: str, found: Iterable[Mapping[str, Any]], command: str | None = None) -> str:
    """Return the id of the only object that was found. Raises: CommandFailed: it names the command that lists them."""
    ids = [str(one["id"]) for one in found]
    if len(ids) == 1:
        return ids[0]
    if not ids:
        listing = command or _LISTS.get(what, f"{what} list")
        raise CommandFailed(f"There is no {what} '{given}': 'flowrunner {listing}' shows them", NOT_FOUND)
    more = ", …" if len(ids) > _MOST_SHOWN else ""
    raise CommandFailed(
        f"'{given}' matches {len(ids)} {what}s; give the id of one: {', '.join(ids[:_MOST_SHOWN])}{more}", INVALID
    )
