"""Secrets that are alike, and texts that are made of them: what a search for all of them could take long over."""

from collections.abc import Sequence
from typing import Any, Final

from security.hostile.case import Attacker, Case, long_case

_RUN: Final = 600_000


def _with_secrets(attacker: Attacker, values: Sequence[str]) -> None:
    for number, value in enumerate(values):
        attacker.account.new_secret(f"KEY_{number}", value)


def _a_script(attacker: Attacker, values: Sequence[str], script: str) -> object:
    """A node that gives what a script makes, beside an account's secrets."""
    _with_secrets(attacker, values[: attacker.many(50, 200)])
    return attacker.run({"nodes": {"a": {"type": "transform", "params": {"script": script}}}})


def _lines(attacker: Attacker) -> object:
    _with_secrets(attacker, [f"{number:08}" + "a" * 90 for number in range(50)])
    script = "for (let i = 0; i < 90; i++) console.log('a'.repeat(9_900)); return 1"
    return attacker.run({"nodes": {"a": {"type": "transform", "params": {"script": script}}}})


def _input(attacker: Attacker) -> object:
    _with_secrets(attacker, [f"{number:08}" + "a" * 8000 for number in range(50)])
    flow = attacker.save("nodes: {a: {type: return, params: {value: '${input}'}}}")
    return attacker.account.post(f"/api/v1/flows/{flow}/run", {"input": {"text": "a" * _RUN}})


def _signal(attacker: Attacker) -> object:
    _with_secrets(attacker, [f"{number:08}" + "a" * 90 for number in range(50)])
    execution = attacker.account.run(attacker.save("nodes: {a: {type: wait, params: {key: go}}}"))
    attacker.account.post(f"/api/v1/executions/{execution}/signals/go", {"payload": "a" * _RUN})
    return attacker.wait(execution)


def _replaced(attacker: Attacker) -> object:
    """An execution that may carry every value that a secret has had."""
    attacker.account.run(attacker.save("nodes: {a: {type: wait, params: {key: go}}}"))
    for number in range(attacker.many(200, 4000)):
        attacker.account.new_secret("KEY", f"{number:08}" + "a" * 8000)
    return attacker.run(_a_run("a"), seconds=5)


def _a_run(text: str) -> dict[str, Any]:
    return {"nodes": {"a": {"type": "transform", "params": {"script": f"return '{text}'.repeat({_RUN // len(text)})"}}}}


_KEYS: Final = (
    "return Object.fromEntries(Array.from({length: 20_000}, (_, i) => ['a'.repeat(8 + i % 20) + i, 'aaaaaaaa']))"
)

CASES: Final = (
    Case("a common beginning",
         lambda a: _a_script(a, [f"{'a' * 40}{n:08}" for n in range(200)], f"return 'a'.repeat({_RUN})")),
    long_case("a common end",
         lambda a: _a_script(a, [f"{n:08}{'a' * 90}" for n in range(200)], f"return 'a'.repeat({_RUN})")),
    long_case("a long common end",
         lambda a: _a_script(a, [f"{n:08}{'a' * 8000}" for n in range(200)], f"return 'a'.repeat({_RUN})")),
    long_case("repetitions of one another",
         lambda a: _a_script(a, ["a" * n for n in range(8, 208)], f"return 'a'.repeat({_RUN})")),
    long_case("escapes of one character",
         lambda a: _a_script(a, ["a" * n for n in range(8, 208)], r"return '\\u0061'.repeat(100_000)")),
    long_case("percent of percent",
         lambda a: _a_script(a, ["%25" * n for n in range(8, 208)], f"return '%25'.repeat({_RUN // 3})")),
    Case("backslashes", lambda a: _a_script(a, ["a" * n for n in range(8, 208)], rf"return '\\'.repeat({_RUN // 2})")),
    long_case("keys", lambda a: _a_script(a, ["a" * n for n in range(8, 208)], _KEYS)),
    long_case("lines", _lines),
    long_case("an input", _input),
    long_case("a signal", _signal),
    long_case("values that were replaced", _replaced),
)  # fmt: skip
