"""The version and state of the installation over REST."""

from typing import Annotated, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner import __version__
from flowrunner.api.http.answers import Answer, Reply, answer, errors, present
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.values import rfc3339, rfc3339_or_none
from flowrunner.services.system import DatabaseKind, DispatcherKind, SystemReport

router = APIRouter(prefix="/api/v1/system", tags=["Operation"], route_class=ProtectedRoute)


class DatabaseAnswer(Answer, frozen=True, kw_only=True):
    kind: DatabaseKind
    size: Annotated[int, Meta(description="In bytes.")]


class DispatcherAnswer(Answer, frozen=True, kw_only=True):
    kind: DispatcherKind
    active: Annotated[int, Meta(description="Executions in the memory of this process.")]
    queued: Annotated[int, Meta(description="Executions that wait to be advanced.")]
    limit: Annotated[int, Meta(description="Executions that one process advances at the same time.")]


class SystemDetails(Answer, frozen=True, kw_only=True):
    started_at: Annotated[str, Meta(description="The start of this process.")]
    database: DatabaseAnswer
    dispatcher: DispatcherAnswer
    processes: Annotated[int, Meta(description="Servers and workers on the database, with those that stand by.")]
    engine_processes: Annotated[
        int | UnsetType,
        Meta(description="Engine processes of this server that run. Absent if its own process advances executions."),
    ] = UNSET
    script_workers: Annotated[int, Meta(description="Processes of one server that evaluate JavaScript.")]
    streams: Annotated[int, Meta(description="Open WebSockets, event streams and waiting requests of this process.")]

    @classmethod
    def of(cls, report: SystemReport) -> Self:
        parts = report.parts
        return cls(
            started_at=rfc3339(report.started_at),
            database=DatabaseAnswer(kind=parts.database, size=report.database.size),
            dispatcher=DispatcherAnswer(
                kind=parts.dispatcher, active=report.active, queued=report.queued, limit=parts.most_active
            ),
            processes=report.processes,
            engine_processes=present(report.engine_processes),
            script_workers=parts.script_workers,
            streams=report.streams,
        )


class SystemAnswer(Answer, frozen=True, kw_only=True):
    version: str
    paused: Annotated[bool, Meta(description="The installation starts no executions.")]
    paused_at: Annotated[str | UnsetType, Meta(description="Absent unless the installation is paused.")] = UNSET
    details: Annotated[SystemDetails | UnsetType, Meta(description="For admins of the installation only.")] = UNSET


@router.get("", responses=errors(401, 403))
async def get_system(request: Request) -> Reply[SystemAnswer]:
    """Return the version, and the pause; to admins of the installation also its parts, queue and size."""
    services = services_of(request)
    paused_at = await services.pause.began_at()
    return answer(
        SystemAnswer(
            version=__version__,
            paused=paused_at is not None,
            paused_at=present(rfc3339_or_none(paused_at)),
            details=SystemDetails.of(await services.system.report()) if caller_of(request).is_admin else UNSET,
        )
    )
