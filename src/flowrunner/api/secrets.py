"""Secrets over REST. No answer contains a value."""

from typing import Self

from fastapi import APIRouter, Request
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, Reply, answer, errors
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute, caller_of
from flowrunner.api.http.state import services_of
from flowrunner.domain.values import WorkspaceId, rfc3339
from flowrunner.ports.secrets import SecretView

router = APIRouter(prefix="/api/v1/accounts/{account_id}/secrets", tags=["Secrets"], route_class=ProtectedRoute)


class CreateSecret(Body):
    key: str = Field(max_length=128, description="The name, which flows read as `${secrets.<key>}`.")
    value: str = Field(max_length=8 * 1024, description="At least 8 characters. The API never returns it.")


class SecretAnswer(Answer, frozen=True, kw_only=True):
    key: str
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, secret: SecretView) -> Self:
        return cls(key=secret.key, created_at=rfc3339(secret.created_at), updated_at=rfc3339(secret.updated_at))


class SecretList(Answer, frozen=True, kw_only=True):
    secrets: list[SecretAnswer]


@router.get("", responses=errors(401, 403, 404))
async def list_secrets(request: Request, account_id: str) -> Reply[SecretList]:
    secrets = await services_of(request).secrets.list(caller_of(request), WorkspaceId(account_id))
    return answer(SecretList(secrets=[SecretAnswer.of(secret) for secret in secrets]))


@router.post(
    "",
    status_code=201,
    responses={200: {"description": "Replaced"}, **errors(401, 403, 404, 409, *BODY_ERRORS)},
)
async def create_secret(request: Request, account_id: str, body: CreateSecret) -> Reply[SecretAnswer]:
    """Create a secret (201), or replace the value of an existing one (200)."""
    secret, is_new = await services_of(request).secrets.set(
        caller_of(request), WorkspaceId(account_id), body.key, body.value
    )
    return answer(SecretAnswer.of(secret), 201 if is_new else 200)


@router.delete("/{key}", responses=errors(401, 403, 404))
async def delete_secret(request: Request, account_id: str, key: str) -> Reply[Message]:
    await services_of(request).secrets.delete(caller_of(request), WorkspaceId(account_id), key)
    return answer(Message(message="Secret deleted successfully"))
