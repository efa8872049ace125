"""The background jobs of the program: which ones run, where, and how often."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from flowrunner.bootstrap.background import Background, running
from flowrunner.bootstrap.program import Program
from flowrunner.clock import ClockCheck
from flowrunner.settings import Settings
from flowrunner.storage.background import SqlJobClaims

logger = structlog.get_logger()

_RETENTION_SECONDS: Final = 3600.0
# Pending notifications are delivered first: a parent would never be notified of a deleted child.
SETTLING_SECONDS: Final = 300.0
_REJECTIONS_SECONDS: Final = 3600.0
_ACTS_SECONDS: Final = 60.0
_USES_SECONDS: Final = 60.0
_UNREAD_SECONDS: Final = 3600.0
_RECEIVED_SECONDS: Final = 30.0
_REFUSALS_SECONDS: Final = 30.0
_COMPLETION_SECONDS: Final = 60.0
_CLOCK_SECONDS: Final = 10.0
_STORE_SECONDS: Final = 60.0
SECRETS_SECONDS: Final = 60.0
# Maximum delay after which a process sees ended sessions and new secrets of other processes.
REFRESH_SECONDS: Final = 2.0


def run_jobs(jobs: Sequence[Background], program: Program) -> AbstractAsyncContextManager[None]:
    """Run the jobs until the end of the context."""
    program.metrics.know_jobs(job.name for job in jobs)
    return running(
        jobs,
        clock=program.clock,
        claims=SqlJobClaims(program.database),
        on_failure=program.metrics.job_failed,
    )


def active_jobs(settings: Settings, program: Program) -> Sequence[Background]:
    """Return the jobs of an active server or a worker."""
    services, job = program.services, partial(Background, where="one")
    jobs, callbacks, mails = services.jobs, services.callback_deliveries, services.outgoing_mails
    schedules, chains, keys = services.schedules, services.chains, services.keys
    return (
        *_retention_jobs(settings, program),
        *program.engine.dispatch_jobs,
        # Moves that a process began before it ended.
        job(name="flows.moves", every=_COMPLETION_SECONDS, run=services.moves.complete_all),
        # Flows of an earlier version.
        job(name="flows.secrets", every=_UNREAD_SECONDS, run=services.flows.read_names),
        job(
            name="workspaces.deleted",
            every=_COMPLETION_SECONDS,
            run=services.workspaces.empty_deleted,
            first_after=0.0,
        ),
        # Deletions that a process began before it ended.
        job(name="executions.deletions", every=_COMPLETION_SECONDS, run=services.records.complete_all),
        job(name="jobs", every=jobs.next_due, run=jobs.advance, wake=jobs.requested),
        job(name="callbacks.deliver", every=callbacks.next_due, run=callbacks.deliver_due),
        job(name="mails.send", every=mails.next_due, run=mails.send_due),
        job(name="audit.acts", every=_ACTS_SECONDS, run=services.audit.write_act_counts),
        job(name="triggers.schedules", every=schedules.next_due, run=schedules.start_due, wake=schedules.changed),
        job(name="triggers.chains", every=chains.next_due, run=chains.start_all, wake=chains.changed),
        job(name="hooks.received", every=_RECEIVED_SECONDS, run=services.hook_deliveries.start_received),
        # Entries may expire within seconds, and each change of a step leaves a row until its execution has ended.
        job(name="store", every=_STORE_SECONDS, run=services.store.purge, first_after=_STORE_SECONDS),
        # Each process knows only the rejections that it has counted, the uses that it has seen and its own values.
        Background(name="audit.rejections", every=_REJECTIONS_SECONDS, run=services.audit.write_rejection_counts),
        Background(name="hooks.refusals", every=_REFUSALS_SECONDS, run=services.refused_hooks.write),
        Background(name="tokens.uses", every=_USES_SECONDS, run=program.token_uses.write),
        Background(name="sessions.uses", every=_USES_SECONDS, run=services.sessions.session_uses.write),
        Background(name="secrets.uses", every=_USES_SECONDS, run=program.vault.uses.write),
        Background(name="secrets.forget", every=SECRETS_SECONDS, run=program.vault.forget_replaced),
        Background(name="clock", every=_CLOCK_SECONDS, run=ClockCheck().again),
        # Each process has its own files of keys, and observes for itself that all others have followed.
        Background(name="keys.rotation", every=keys.next_due, run=keys.advance, wake=keys.requested),
    )


def _retention_jobs(settings: Settings, program: Program) -> Sequence[Background]:
    """Return the jobs that delete rows after a limited time; a failure of one does not affect the others."""
    services = program.services

    async def purge_executions() -> None:
        purged = await services.retention.purge()
        if purged:
            logger.info("executions.purged", count=purged)

    async def purge_audit() -> None:
        await services.audit.purge(older_than=timedelta(seconds=settings.audit_retention))

    async def purge_jobs() -> None:
        await services.jobs.purge(older_than=timedelta(seconds=settings.retention))

    job = partial(Background, every=_RETENTION_SECONDS, first_after=SETTLING_SECONDS, where="one")
    return (
        job(name="retention.executions", run=purge_executions),
        job(name="retention.jobs", run=purge_jobs),
        job(name="retention.request_keys", run=services.request_keys.purge),
        job(name="retention.flows", run=services.flows.purge),
        job(name="retention.sessions", run=services.sessions.purge),
        job(name="retention.invitations", run=services.invitations.purge),
        job(name="retention.password_resets", run=services.password_resets.purge),
        job(name="retention.mails", run=services.outgoing_mails.purge),
        job(name="retention.audit", run=purge_audit),
        job(name="retention.hooks", run=services.hook_deliveries.purge),
        job(name="retention.callbacks", run=services.callback_deliveries.purge),
    )


def session_jobs(program: Program) -> Sequence[Background]:
    """Return the job by which a server finds sessions that another process has ended, even if that was a command."""

    async def revalidate_sessions() -> None:
        program.services.known_callers.drop_all()
        await program.streams.revalidate_sessions()

    return (Background(name="sessions.refresh", every=REFRESH_SECONDS, run=revalidate_sessions),)


def following_jobs(program: Program) -> Sequence[Background]:
    """Return the jobs by which a process finds changes that other servers and workers have made."""

    async def revalidate_secrets() -> None:
        program.vault.mark_stale()

    return (
        *session_jobs(program),
        Background(name="secrets.refresh", every=REFRESH_SECONDS, run=revalidate_secrets),
        Background(name="keys.refresh", every=REFRESH_SECONDS, run=program.rotator.follow),
    )
