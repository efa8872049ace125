"""What requests have in common."""

from typing import Annotated, TypeAlias

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from flowrunner.ports import Page
from flowrunner.services.bundle import Services

MAX_LIMIT = 1000
DEFAULT_LIMIT = 10


class Body(BaseModel):
    """Base of request bodies: unknown fields are faults, types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many to return at most.")]
Offset: TypeAlias = Annotated[int, Query(ge=0, le=2**53, description="How many to skip.")]


def page_of(limit: int, offset: int) -> Page:
    return Page(limit=limit, offset=offset)


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
