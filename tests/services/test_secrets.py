"""The secrets of an account: rights, number and size."""

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, InvalidInput, NotFound
from flowrunner.domain.values import personal_workspace
from flowrunner.ports.page import Page
from flowrunner.services.secrets import MAX_SECRETS, MAX_VALUE_BYTES, Secrets
from flowrunner.storage.secrets import SqlSecrets
from support.databases import MARA
from support.dependencies import Machine

ALL = Page(limit=1000, offset=0)


@pytest.fixture
def secrets(engine: Machine) -> Secrets:
    return Secrets(SqlSecrets(engine.database), engine.vault, engine.clock)


async def test_a_secret_is_set_listed_and_deleted_by_name_alone(
    secrets: Secrets, engine: Machine, mara: Caller
) -> None:
    view, is_new = await secrets.set(mara, "KEY", "a long value")
    _, is_new_again = await secrets.set(mara, "KEY", "another value")

    assert (is_new, is_new_again) == (True, False)
    assert [v.key for v in (await secrets.page(mara, page=ALL))[0]] == ["KEY"]
    assert "value" not in repr(view)
    assert await engine.vault.reveal(MARA, ["KEY"]) == {"KEY": "another value"}
    await secrets.delete(mara, "KEY")
    assert await secrets.page(mara, page=ALL) == ([], 0)
    with pytest.raises(NotFound):
        await secrets.delete(mara, "KEY")


@pytest.mark.parametrize(
    ("key", "value", "faults"),
    [
        ("", "a long value", ["key"]),
        ("1A", "a long value", ["key"]),
        ("A-B", "a long value", ["key"]),
        ("A" * 129, "a long value", ["key"]),
        ("A\n", "a long value", ["key"]),
        ("A", "short", ["too_short"]),
        ("A", "é" * 40_000, ["too_long"]),
        ("é", "", ["key", "too_short"]),
    ],
)
async def test_a_secret_with_an_invalid_name_or_size_is_rejected(
    secrets: Secrets, mara: Caller, key: str, value: str, faults: list[str]
) -> None:
    with pytest.raises(InvalidInput) as error:
        await secrets.set(mara, key, value)

    assert [fault.code for fault in error.value.faults] == faults
    assert not value or value not in str(error.value)


async def test_an_account_has_a_bounded_number_of_secrets(secrets: Secrets, mara: Caller) -> None:
    for n in range(MAX_SECRETS):
        await secrets.set(mara, f"KEY_{n}", f"value number {n}")

    with pytest.raises(Conflict, match="at most"):
        await secrets.set(mara, "ONE_MORE", "one value more")

    view, is_new = await secrets.set(mara, "KEY_0", "another value")
    assert (view.key, is_new) == ("KEY_0", False)


async def test_a_value_is_bounded_in_bytes(secrets: Secrets, mara: Caller) -> None:
    longest = "ä" * (MAX_VALUE_BYTES // 2)
    await secrets.set(mara, "LONG", longest)

    with pytest.raises(InvalidInput, match="at most"):
        await secrets.set(mara, "LONG", longest + "a")


async def test_a_long_value_is_hidden_in_the_forms_that_files_travel_in(
    secrets: Secrets, engine: Machine, mara: Caller
) -> None:
    value = "-----BEGIN KEY-----\n" + "0123456789abcdef" * 100 + "\n-----END KEY-----"
    await secrets.set(mara, "PEM", value)

    redactor = await engine.vault.redactor(personal_workspace(mara.account_id))

    assert redactor.redact({"pem": f"got {value}!"}) == {"pem": "got ***!"}
