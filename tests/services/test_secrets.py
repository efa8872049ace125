"""How many secrets there may be, and how long."""

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.services.secrets import MAX_SECRETS, MAX_VALUE_BYTES, Secrets
from flowrunner.storage.secrets import SqlSecrets
from support.world import Machine


@pytest.fixture
def secrets(engine: Machine) -> Secrets:
    return Secrets(SqlSecrets(engine.database), engine.vault, engine.clock)


async def test_an_account_has_a_bounded_number_of_secrets(secrets: Secrets, mara: Caller) -> None:
    for n in range(MAX_SECRETS):
        await secrets.set(mara, mara.account_id, f"KEY_{n}", f"value number {n}")

    with pytest.raises(Conflict, match="at most"):
        await secrets.set(mara, mara.account_id, "ONE_MORE", "one value more")

    view, is_new = await secrets.set(mara, mara.account_id, "KEY_0", "another value")
    assert (view.key, is_new) == ("KEY_0", False)


async def test_a_value_is_bounded_in_bytes(secrets: Secrets, mara: Caller) -> None:
    longest = "ä" * (MAX_VALUE_BYTES // 2)
    await secrets.set(mara, mara.account_id, "LONG", longest)

    with pytest.raises(InvalidInput, match="at most"):
        await secrets.set(mara, mara.account_id, "LONG", longest + "a")


async def test_a_long_value_is_hidden_in_the_forms_that_files_travel_in(
    secrets: Secrets, engine: Machine, mara: Caller
) -> None:
    value = "-----BEGIN KEY-----\n" + "0123456789abcdef" * 100 + "\n-----END KEY-----"
    await secrets.set(mara, mara.account_id, "PEM", value)

    redactor = await engine.vault.redactor(mara.account_id)

    assert redactor.redact({"pem": f"got {value}!"}) == {"pem": "got ***!"}
