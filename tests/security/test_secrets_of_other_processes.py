"""Secrets that another process on the database has set are hidden here as well."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from flowrunner.bootstrap import housekeeping
from flowrunner.bootstrap.notifications import watch_other_processes
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import WorkspaceId, personal_workspace
from flowrunner.ports.secrets import SealedSecret, WrappedKey
from flowrunner.security.process_vault import ProcessVault
from flowrunner.security.vault import AesVault
from flowrunner.storage.secrets import SqlSecrets
from support.asgi import program_at
from support.client import PASSWORD
from support.waiting import PATIENCE_SECONDS

VALUE = "a-value-of-some-length"


async def test_a_secret_of_another_process_is_hidden_before_a_flow_uses_it_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "REFRESH_SECONDS", 0.01)
    async with program_at(tmp_path / "data") as program, watch_other_processes(program):
        owner = await program.services.accounts.create(
            name="Omar", email="omar@example.com", password=PASSWORD, role="user"
        )
        elsewhere = AesVault(SqlSecrets(program.database), program.vault._master_keys, SystemClock())

        async def shown() -> object:
            return (await program.vault.redactor(personal_workspace(owner.id))).redact(VALUE)

        assert await shown() == VALUE
        await elsewhere.set(personal_workspace(owner.id), "KEY", VALUE, at=SystemClock().now())

        async with asyncio.timeout(PATIENCE_SECONDS):
            while await shown() != "***":  # noqa: ASYNC110 # the program looks by itself
                await asyncio.sleep(0.01)


async def test_a_secret_of_another_process_is_hidden_as_soon_as_a_step_has_read_it(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        owner = await program.services.accounts.create(
            name="Omar", email="omar@example.com", password=PASSWORD, role="user"
        )
        elsewhere = AesVault(SqlSecrets(program.database), program.vault._master_keys, SystemClock())
        redactor = await program.vault.redactor(personal_workspace(owner.id))
        await elsewhere.set(personal_workspace(owner.id), "KEY", VALUE, at=SystemClock().now())

        assert await program.vault.reveal(personal_workspace(owner.id), ["KEY"]) == {"KEY": VALUE}

        assert redactor.redact(VALUE) == "***"


async def test_a_secret_that_another_process_sets_while_the_others_are_read_is_hidden(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        owner = await program.services.accounts.create(
            name="Omar", email="omar@example.com", password=PASSWORD, role="user"
        )
        elsewhere = AesVault(SqlSecrets(program.database), program.vault._master_keys, SystemClock())

        class ReadBefore(SqlSecrets):
            async def sealed(
                self, workspace_id: WorkspaceId, names: Collection[str] | None = None
            ) -> Sequence[tuple[SealedSecret, WrappedKey | None]]:
                found = await super().sealed(workspace_id, names)
                if not found:
                    await elsewhere.set(personal_workspace(owner.id), "KEY", VALUE, at=SystemClock().now())
                    vault.mark_stale()
                return found

        vault = AesVault(ReadBefore(program.database), program.vault._master_keys, SystemClock())

        before = (await vault.redactor(personal_workspace(owner.id))).redact(VALUE)
        after = (await vault.redactor(personal_workspace(owner.id))).redact(VALUE)

    assert (before, after) == (VALUE, "***")


async def test_a_process_that_got_no_answer_asks_again_what_is_hidden() -> None:
    answers: list[Collection[str] | Unavailable] = [Unavailable("The database cannot be reached"), [VALUE]]

    async def hidden(workspace_id: WorkspaceId) -> Collection[str]:
        answer = answers.pop(0)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    async def reveal(workspace_id: WorkspaceId, names: Collection[str]) -> dict[str, str]:
        raise AssertionError("no value is asked for")

    vault = ProcessVault(hidden=hidden, reveal=reveal, clock=SystemClock())
    with pytest.raises(Unavailable):
        await vault.redactor(WorkspaceId("w"))

    assert (await vault.redactor(WorkspaceId("w"))).redact(VALUE) == "***"
