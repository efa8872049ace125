"""The store of the workspace as one attempt of a step sees it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from flowrunner.bounded_json import canonical_text, decode_json
from flowrunner.domain.errors import Fault, LimitReached, RedactionLimit
from flowrunner.domain.store import (
    LARGEST_NUMBER,
    MAX_KEY_CHARACTERS,
    MOST_LISTED,
    NotChanged,
    StoreChange,
    StoreKey,
    StoreStep,
    is_key_text,
    key_faults,
    ttl_ms_of,
    value_faults,
)
from flowrunner.domain.values import JSON
from flowrunner.engine.dependencies import LoadedExecution
from flowrunner.plugin import Expected, NodeFailure
from flowrunner.ports.journal import Fenced


class AttemptStore:
    """Implements `plugin.Store`: checks, redacts, and repeats while the database is unavailable.

    It has no public attributes, for the reason of `NodeContext`.

    Args:
        numbers: Numbers of the step's changes in this attempt.
    """

    __slots__ = ("_loaded", "_numbers", "_step")

    def __init__(self, loaded: LoadedExecution, step: str, numbers: Iterator[int]) -> None:
        self._loaded = loaded
        self._step = step
        self._numbers = numbers

    async def get(self, key: str, *, namespace: str) -> JSON:
        at, deps = await self._place(key, namespace), self._loaded.deps
        found = await deps.retry_until_available(
            lambda: deps.store.value(self._loaded.execution.workspace_id, at, now=deps.clock.now())
        )
        value: JSON = None if found is None else decode_json(found)
        return value

    async def keys(self, *, namespace: str, prefix: str, after: str, limit: int) -> JSON:
        # A key stands for both: it is what they have to be like.
        await self._place("key", namespace)
        for name, text in (("prefix", prefix), ("after", after)):
            if not is_key_text(text, MAX_KEY_CHARACTERS):
                message = f"must have at most {MAX_KEY_CHARACTERS} characters, without control characters"
                raise _invalid([Fault(path=name, code="name", message=message)])
        if not 1 <= limit <= MOST_LISTED:
            raise _invalid([Fault(path="limit", code="range", message=f"must be 1 to {MOST_LISTED}")])
        deps, workspace_id = self._loaded.deps, self._loaded.execution.workspace_id
        # One more shows whether there are more.
        found = await deps.retry_until_available(
            lambda: deps.store.keys(
                workspace_id, namespace=namespace, prefix=prefix, after=after, limit=limit + 1, now=deps.clock.now()
            )
        )
        return {"keys": found[:limit], "next": found[limit - 1] if len(found) > limit else None}

    async def set(
        self, key: str, value: JSON, *, namespace: str, ttl_seconds: float | None, expected: Expected | None = None
    ) -> JSON:
        at = await self._place(key, namespace)
        encoded, wanted = await self._encoded(value), await self._canonical(expected)
        return await self._change("set", at, value=encoded, expected=wanted, ttl_ms=_milliseconds(ttl_seconds))

    async def delete(self, key: str, *, namespace: str, expected: Expected | None = None) -> JSON:
        at = await self._place(key, namespace)
        return await self._change("delete", at, expected=await self._canonical(expected))

    async def increment(self, key: str, amount: int, *, namespace: str, ttl_seconds: float | None) -> JSON:
        if abs(amount) > LARGEST_NUMBER:
            raise NodeFailure(
                "store.out_of_range", f"The amount must be between -{LARGEST_NUMBER} and {LARGEST_NUMBER}"
            )
        at = await self._place(key, namespace)
        return await self._change("increment", at, amount=amount, ttl_ms=_milliseconds(ttl_seconds))

    async def _change(
        self,
        operation: Literal["set", "delete", "increment"],
        at: StoreKey,
        *,
        value: str = "",
        amount: int = 0,
        expected: str | None = None,
        ttl_ms: int | None = None,
    ) -> JSON:
        # Hashed, because the name of a deeply nested step may be too long for an index. A rerun makes its changes
        # again, also one whose requests have the keys of the first execution.
        digest = hashlib.sha256(f"{self._step} {next(self._numbers)}".encode()).hexdigest()
        step = StoreStep(execution_id=self._loaded.execution.execution_id, digest=digest)
        change = StoreChange(
            operation=operation, at=at, value=value, amount=amount, expected=expected, ttl_ms=ttl_ms, step=step
        )
        deps, workspace_id = self._loaded.deps, self._loaded.execution.workspace_id
        try:
            return await deps.retry_until_available(
                lambda: deps.store.change(workspace_id, change, now=deps.clock.now())
            )
        except NotChanged as error:
            if expected is not None:
                await self._check_readable(at)
            raise NodeFailure(error.type, str(error)) from None
        except LimitReached as error:
            raise NodeFailure(f"limit.{error.limit}", str(error)) from None
        except Fenced as error:
            # Nobody sees this error: whatever this process records of the execution is rejected, too.
            raise NodeFailure("interrupted", f"Nothing was changed: {error}") from None

    async def _place(self, key: str, namespace: str) -> StoreKey:
        at = StoreKey(namespace, key)
        if faults := key_faults(at):
            raise _invalid(faults)
        try:
            # With the secret hidden, one key would stand for many.
            hidden = self._loaded.redactor.redact([namespace, key]) != [namespace, key]
        except RedactionLimit as error:
            raise NodeFailure("limit.redaction", str(error)) from None
        if hidden:
            raise NodeFailure("input.invalid", "A key or namespace of the store must not contain a secret: hash it")
        return at

    async def _canonical(self, expected: Expected | None) -> str | None:
        if expected is None:
            return None
        encoded = await self._encoded(expected.value)
        if encoded != msgspec.json.encode(expected.value).decode():
            # All secrets are stored alike, so that it would be equal to others.
            raise NodeFailure("input.invalid", "expected: must not contain a secret, because secrets are not stored")
        return canonical_text(encoded)

    async def _check_readable(self, at: StoreKey) -> None:
        """Raise NodeFailure if a value has a text that has become a secret since: no step reads it as it is stored."""
        deps, workspace_id = self._loaded.deps, self._loaded.execution.workspace_id
        stored = await deps.retry_until_available(lambda: deps.store.value(workspace_id, at, now=deps.clock.now()))
        if stored is not None and self._loaded.redactor.found_in(stored.encode()):
            message = f"The value at '{at.key}' contains a secret, so that no expected one equals it: delete it"
            raise NodeFailure("input.invalid", message)

    async def _encoded(self, value: JSON) -> str:
        """Return the JSON of a value without secrets."""
        try:
            encoded = msgspec.json.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise NodeFailure("input.invalid", f"value: cannot be written as JSON ({type(error).__name__})") from None
        # First, so that no long one is searched.
        _check_size(encoded)
        try:
            if self._loaded.redactor.found_in(encoded):
                encoded = msgspec.json.encode(await self._loaded.redactor.redact_soon(value))
                _check_size(encoded)
        except RedactionLimit as error:
            raise NodeFailure("limit.redaction", str(error)) from None
        return encoded.decode()


def _check_size(encoded: bytes) -> None:
    if faults := value_faults(len(encoded)):
        raise NodeFailure("limit.store_value", f"The value {faults[0].message}: keep a smaller part of it")


def _milliseconds(ttl_seconds: float | None) -> int | None:
    if ttl_seconds is None:
        return None
    try:
        return ttl_ms_of(ttl_seconds)
    except ValueError as error:
        raise NodeFailure("input.invalid", f"ttl: {error}") from None


def _invalid(faults: Sequence[Fault]) -> NodeFailure:
    return NodeFailure("input.invalid", "; ".join(f"{fault.path}: {fault.message}" for fault in faults))
