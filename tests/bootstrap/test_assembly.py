"""The assembled program: what each setting changes in it, and parts with a state of their own, each of which is one."""

import asyncio
import collections
import functools
import gc
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.bootstrap.program import Program
from flowrunner.domain.sign_on import providers_of
from flowrunner.lru_cache import LruCache
from flowrunner.settings import Settings
from security.two_accounts import RETURN, two_accounts_at
from support.asgi import program_at

# Objects that belong to the process, not to the program.
_SHARED: Final = (type, types.ModuleType, types.FrameType, types.CodeType, Settings)
_SIMPLE: Final = (str, int, float, bool, bytes, type(None), timedelta, IPv4Network)


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
    "retention_count": 7_919,
}
# What is held of some of them.
TEXTS: Final = {
    "allowed_hosts": "one.example.com", "egress_allow": "10.7.0.0", "sign_on_allow": "10.8.0.0",
    "trusted_proxies": "10.9.0.0", "smtp_url": "mail.example.com", "sign_on": "login.example.com",
}  # fmt: skip
# What is read before or after the assembly, or only with PostgreSQL or Temporal.
ELSEWHERE: Final = {
    "host", "port", "data_dir", "database_url", "database_readers", "database_timeout", "dispatch", "temporal_api_key",
    "audit_retention", "processes", "admin_email", "admin_password", "drain_time", "otel", "log_level", "log_format",
}  # fmt: skip


def text_of(value: Any) -> str:
    return repr(value.total_seconds() if isinstance(value, timedelta) else value)


def values_of(program: Program) -> tuple[collections.Counter[str], collections.Counter[tuple[str, bool]]]:
    """Return the simple values that the program holds, as texts, and its true and false values by who holds them."""
    simple = [(holder, held) for holder, held in parts_of(program) if isinstance(held, _SIMPLE)]
    flags = (
        (type(holder).__qualname__, held)
        for holder, held in simple
        if isinstance(held, bool) and type(holder).__module__.startswith("flowrunner.")
    )
    return collections.Counter(text_of(held) for _, held in simple), collections.Counter(flags)


def settings_to_change() -> Iterator[Any]:
    for setting in fields(Settings):
        if setting.name not in ELSEWHERE:
            default: Any = setting.default
            numbers: dict[type, Any] = {bool: default is False, int: 7_919, float: 791_900.0}
            other = OTHERS.get(setting.name, numbers.get(type(default)))
            yield pytest.param(setting.name, other, id=setting.name)


@pytest.fixture(scope="module")
def usually() -> dict[str, Any]:
    """Keep what the program usually holds, by the settings beside the one that is changed."""
    return {}


@pytest.mark.parametrize(("name", "other"), list(settings_to_change()))
async def test_a_setting_changes_the_assembled_program(
    tmp_path: Path, usually: dict[str, Any], name: str, other: Any
) -> None:
    beside = {"metrics_token": "a-token-of-the-metrics"} if name == "metrics_flows" else {}
    if str(beside) not in usually:
        async with program_at(tmp_path, **beside) as program:
            usually[str(beside)] = values_of(program)
    usual, usual_flags = usually[str(beside)]
    async with program_at(tmp_path, **beside, **{name: other}) as program:
        found, found_flags = values_of(program)

    if isinstance(other, bool):
        assert found_flags != usual_flags
    else:
        # A value that no other part has, perhaps within a text.
        text = TEXTS.get(name)
        assert [
            held
            for held in found
            if found[held] > usual[held] and (held == text_of(other) if text is None else text in held)
        ] != []


async def test_a_saved_flow_wakes_the_job_of_schedules_and_that_of_chains_each_by_an_event_of_its_own(
    tmp_path: Path,
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        services = accounts.program.services
        wakes = services.schedules.changed, services.chains.changed
        for wake in wakes:
            wake.clear()
        await accounts.mara.flow(RETURN)
        woken = [wake.is_set() for wake in wakes]
        # Each job clears its own when it begins to look.
        wakes[0].clear()

    assert woken == [True, True]
    assert wakes[1].is_set()


# Parts with a state of which there are several, each with the reason.
SEVERAL: Final[Mapping[str, str]] = {
    "Buckets": "one for each kind of request",
    "SlidingWindow": "one for each kind of attempt",
    "WeighedCache": "one for flows, and one for the schemas of their inputs",
    "EgressClients": "one for flows, and one for single sign-on",
    "FairSlots": "one for each kind of work",
    "LruCache": "one for each kind of value",
    "ParsingBudget": "one for each kind of text",
    "WriteBehind": "one for each kind of note",
    **dict.fromkeys(
        ("AdminRoute", "HookRoute", "ProbeRoute", "ProtectedRoute", "PublicRoute", "_SocketRoute"), "one for each path"
    ),
}


async def test_each_part_with_a_state_of_its_own_is_there_once(tmp_path: Path) -> None:
    """A second instance would be told what the first is asked for."""
    async with program_at(tmp_path) as program:
        found: dict[str, set[int]] = collections.defaultdict(set)
        for _, part in parts_of(program):
            kind = type(part)
            if kind.__module__.startswith("flowrunner.") and has_state(part):
                found[kind.__qualname__].add(id(part))

    several = sorted(name for name, each in found.items() if len(each) > 1)
    assert set(several) ^ set(SEVERAL) == set()


def has_state(part: Any) -> bool:
    """Return whether a part holds a collection or an event that changes."""
    values = list(getattr(part, "__dict__", {}).values())
    return any(isinstance(value, dict | list | set | collections.deque | asyncio.Event | LruCache) for value in values)
