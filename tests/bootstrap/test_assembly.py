"""The assembled program: what each setting changes in it, and parts with a state of their own, each of which is one."""

import asyncio
import collections
import functools
import gc
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from flowrunner.bootstrap.program import Program
from flowrunner.domain.sign_on import providers_of
from flowrunner.settings import Settings
from support.asgi import program_at

# Objects that belong to the process, not to the program.
_SHARED: Final = (type, types.ModuleType, types.FrameType, types.CodeType, Settings)
_SIMPLE: Final = (str, int, float, bool, bytes, type(None))


def parts_of(program: Program) -> Iterator[tuple[Any, Any]]:
    """Yield each object that the program holds, with what holds it."""
    seen: set[int] = {id(program)}
    waiting: list[Any] = [program]
    while waiting:
        holder = waiting.pop()
        for held in referents(holder):
            if isinstance(held, _SHARED):
                continue
            yield holder, held
            if id(held) not in seen and not isinstance(held, _SIMPLE):
                seen.add(id(held))
                waiting.append(held)


def referents(holder: Any) -> Iterator[Any]:
    match holder:
        case types.FunctionType():
            # Not its module's names.
            yield from (cell.cell_contents for cell in holder.__closure__ or () if cell != types.CellType())
            yield from holder.__defaults__ or ()
            yield from (holder.__kwdefaults__ or {}).values()
        case functools.partial():
            yield from (holder.func, *holder.args, *holder.keywords.values())
        case _:
            yield from gc.get_referents(holder)


# A value of each setting that is not its default; a smaller one where more would be taken.
OTHERS: Final[Mapping[str, Any]] = {
    "public_url": "https://flows.example.com",
    "allowed_hosts": ("one.example.com",),
    "egress_allow": (ip_network("10.7.0.0/16"),),
    "sign_on_allow": (ip_network("10.8.0.0/16"),),
    "trusted_proxies": (ip_network("10.9.0.0/16"),),
    "smtp_url": "smtp://mail.example.com?from=flows@example.com",
    "sign_up": "invited",
    "sign_on": providers_of({"p": {"issuer": "https://login.example.com", "client_id": "c"}}),
    "metrics_token": "a-token-of-the-metrics",
    "retention_count": 7,
}
# What is read before or after the assembly, or only with PostgreSQL or Temporal.
ELSEWHERE: Final = {
    "host", "port", "data_dir", "database_url", "database_readers", "database_timeout", "dispatch", "temporal_api_key",
    "processes", "admin_email", "admin_password", "drain_time", "otel", "log_level", "log_format",
}  # fmt: skip


def held_values(program: Program) -> collections.Counter[tuple[str, str]]:
    """Return the simple values that the program holds, each with the type of what holds it."""
    return collections.Counter(
        (type(holder).__qualname__, repr(held)) for holder, held in parts_of(program) if isinstance(held, _SIMPLE)
    )


async def values_with(data_dir: Path, **settings: Any) -> collections.Counter[tuple[str, str]]:
    async with program_at(data_dir, **settings) as program:
        return held_values(program)


async def test_each_setting_changes_the_assembled_program(tmp_path: Path) -> None:
    usual = [await values_with(tmp_path) for _ in range(3)]
    changing = {value for value in usual[0] | usual[1] | usual[2] if len({each[value] for each in usual}) > 1}
    without_effect = []
    for setting in fields(Settings):
        if setting.name in ELSEWHERE:
            continue
        other = OTHERS.get(setting.name)
        if other is None:
            default: Any = setting.default
            other = not default if isinstance(default, bool) else default - 1
        found = await values_with(tmp_path, **{setting.name: other})
        if all(found[value] == usual[0][value] for value in (found.keys() | usual[0].keys()) - changing):
            without_effect.append(setting.name)

    assert without_effect == []


# Parts with a state of which there are several, each with the reason.
SEVERAL: Final[Mapping[str, str]] = {
    "EgressClients": "one for flows, and one for single sign-on",
    "FairSlots": "one for each kind of work",
    "LruCache": "one for each kind of value",
    "ParsingBudget": "one for each kind of text",
    **dict.fromkeys(
        ("AdminRoute", "HookRoute", "ProbeRoute", "ProtectedRoute", "PublicRoute", "_SocketRoute"), "one for each path"
    ),
}


async def test_each_part_with_a_state_of_its_own_is_there_once(tmp_path: Path) -> None:
    """Of two, one is told what the other is asked for."""
    async with program_at(tmp_path) as program:
        found: dict[str, set[int]] = collections.defaultdict(set)
        for _, part in parts_of(program):
            kind = type(part)
            if kind.__module__.startswith("flowrunner.") and has_state(part):
                found[kind.__qualname__].add(id(part))

    several = sorted(name for name, each in found.items() if len(each) > 1)
    assert several == sorted(SEVERAL)


def has_state(part: Any) -> bool:
    """Return whether a part holds a collection or an event that changes."""
    values = list(getattr(part, "__dict__", {}).values())
    return any(isinstance(value, dict | list | set | collections.deque | asyncio.Event) for value in values)
