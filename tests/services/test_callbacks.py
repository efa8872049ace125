"""Changes of callbacks, also at the same time, on a real database."""

from typing import Any, Final

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.services.callback_secrets import Credentials
from flowrunner.services.callbacks import CallbackChange, Callbacks
from flowrunner.storage.callback_deliveries import SqlCallbackDeliveries
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.flows import SqlFlows
from support.dependencies import Machine

FAILED: Final = "execution.failed"


def callbacks_of(engine: Machine) -> Callbacks:
    deps: Any = engine.deps
    sender: Any = None
    return Callbacks(
        SqlCallbacks(engine.database), SqlCallbackDeliveries(engine.database), SqlFlows(engine.database), sender,
        deps.vault, clock=engine.clock,
        sends_mail=False, refusal=lambda url: None,
    )  # fmt: skip


async def test_an_event_that_is_given_twice_is_kept_once(engine: Machine, mara: Caller) -> None:
    callbacks, twice = callbacks_of(engine), ["execution.failed", "execution.waiting", "execution.failed"]

    made, _ = await callbacks.create(mara, url="https://a.example/in", format="standard", events=twice)
    changed = await callbacks.change(mara, made.id, CallbackChange(events=twice[1:]))

    assert [list(made.events), list(changed.events)] == [twice[:2], twice[1:]]
    changed = await callbacks.change(mara, made.id, CallbackChange(events=twice))
    assert list(changed.events) == twice[:2]


async def test_a_url_that_the_keys_do_not_open_is_replaced_unless_a_signing_secret_is_lost_with_it(
    engine: Machine, mara: Caller
) -> None:
    signed, _ = await callbacks_of(engine).create(mara, url="https://a.example/in", format="standard", events=[FAILED])
    plain, _ = await callbacks_of(engine).create(mara, url="https://a.example/in", format="slack", events=[FAILED])
    await engine.database.write(lambda tx: tx.run("UPDATE callbacks SET sealed = :sealed", {"sealed": bytes(64)}))
    callbacks = callbacks_of(engine)

    changed = await callbacks.change(mara, plain.id, CallbackChange(url="https://b.example/in"))

    assert changed.address == "https://b.example/…"
    stored = await SqlCallbacks(engine.database).get(mara.workspace_id, plain.id)
    vault: Any = engine.deps.vault
    assert Credentials.opened(vault, stored).url == "https://b.example/in"
    with pytest.raises(InvalidInput, match="url: cannot be changed: the signing secret"):
        await callbacks.change(mara, signed.id, CallbackChange(url="https://b.example/in"))
    with pytest.raises(Conflict, match="The signing secret of the callback cannot be decrypted"):
        await callbacks.rotate(mara, signed.id)


async def test_two_changes_at_the_same_time_leave_no_callback_that_one_of_them_could_not_have_made(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = callbacks_of(engine)
    flow_id = await engine.save("nodes: {a: {type: return}}")
    made, _ = await callbacks.create(mara, url="https://a.example/in", format="standard", events=["execution.failed"])
    current = SqlFlows.current

    async def tag_meanwhile(self: SqlFlows, *args: Any) -> Any:
        monkeypatch.setattr(SqlFlows, "current", current)
        await callbacks.change(mara, made.id, CallbackChange(tag="nightly"))
        return await current(self, *args)

    monkeypatch.setattr(SqlFlows, "current", tag_meanwhile)

    with pytest.raises(InvalidInput, match="must be absent if flow_id is given"):
        await callbacks.change(mara, made.id, CallbackChange(flow_id=flow_id))

    after = await callbacks.get(mara, made.id)
    assert (after.flow_id, after.tag) == (None, "nightly")
