"""Periodic background tasks of the active server."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.bootstrap.notifications import REFRESH_SECONDS
from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.settings import Settings

logger = structlog.get_logger()

_HOUSEKEEPING_SECONDS: Final = 3600.0
_SETTLING_SECONDS: Final = 300.0
_ROTATION_SECONDS: Final = 60.0
_TOKEN_USES_SECONDS: Final = 60.0
SECRETS_SECONDS: Final = 60.0


async def run_retention(settings: Settings, program: Program) -> None:
    """Delete expired executions, flows, sessions and audit entries, once an hour."""
    # Pending notifications are delivered first: a parent would never be notified of a deleted child.
    await asyncio.sleep(_SETTLING_SECONDS)
    services = program.services

    async def purge_executions() -> None:
        purged = await services.executions.purge(older_than=timedelta(seconds=settings.retention))
        if purged:
            logger.info("executions.purged", count=purged)

    async def purge_audit() -> None:
        await services.audit.write_rejection_counts()
        await services.audit.purge(older_than=timedelta(seconds=settings.audit_retention))

    while True:
        for part, purge in (
            ("executions", purge_executions),
            ("flows", services.flows.purge),
            ("sessions", services.identity.purge),
            ("audit", purge_audit),
        ):
            try:
                await purge()
            except Exception:
                # Retried in the next round; the other parts continue.
                logger.exception("retention.failed", part=part)
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)


async def keep_token_uses(program: Program) -> None:
    """Store the last use of API tokens, once a minute and at the end."""
    try:
        while True:
            await asyncio.sleep(_TOKEN_USES_SECONDS)
            with contextlib.suppress(Unavailable):
                await program.token_uses.write()
    finally:
        with contextlib.suppress(Unavailable):
            await program.token_uses.write()


async def forget_secrets(program: Program) -> None:
    """Forget replaced secrets once a minute. Every process does so, because each one knows different values."""
    while True:
        await asyncio.sleep(SECRETS_SECONDS)
        try:
            await program.vault.forget_replaced()
        except Unavailable as error:
            logger.warning("secrets.not_forgotten", reason=str(error))
        except Exception:
            logger.exception("secrets.forgetting_failed")


async def rotate_keys(program: Program) -> None:
    """Advance key rotations when one is requested, and once a minute."""
    while True:
        is_waiting = False
        try:
            is_waiting = await program.services.keys.advance()
        except Exception:
            # The remaining steps are derived from the stored state.
            logger.exception("keys.rotation_failed")
        await program.services.keys.wait(seconds=REFRESH_SECONDS if is_waiting else _ROTATION_SECONDS)
