"""Secrets over REST. No answer contains a value."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, answer, errors
from flowrunner.api.http.requests import Body, services_of
from flowrunner.api.http.routing import ProtectedRoute, caller_of
from flowrunner.domain.values import WorkspaceId, rfc3339
from flowrunner.ports import SecretView

router = APIRouter(prefix="/api/v1/accounts/{account_id}/secrets", tags=["Secrets"], route_class=ProtectedRoute)


class CreateSecret(Body):
    key: str = Field(max_length=128, description="The name, which flows read as `${secrets.<key>}`.")
    value: str = Field(max_length=8 * 1024, description="At least 8 characters. The API never returns it.")


class SecretAnswer(Answer):
    key: str
    created_at: str
    updated_at: str


class SecretList(Answer):
    secrets: list[SecretAnswer]


def _secret_json(secret: SecretView) -> dict[str, Any]:
    return {
        "key": secret.key,
        "created_at": rfc3339(secret.created_at),
        "updated_at": rfc3339(secret.updated_at),
    }


@router.get("", response_model=SecretList, responses=errors(401, 403, 404))
async def list_secrets(request: Request, account_id: str) -> Response:
    secrets = await services_of(request).secrets.list(caller_of(request), WorkspaceId(account_id))
    return answer({"secrets": [_secret_json(secret) for secret in secrets]})


@router.post(
    "",
    response_model=SecretAnswer,
    status_code=201,
    responses={200: {"model": SecretAnswer, "description": "Replaced"}, **errors(401, 403, 404, 409, *BODY_ERRORS)},
)
async def create_secret(request: Request, account_id: str, body: CreateSecret) -> Response:
    """Create a secret (201), or replace the value of an existing one (200)."""
    secret, is_new = await services_of(request).secrets.set(
        caller_of(request), WorkspaceId(account_id), body.key, body.value
    )
    return answer(_secret_json(secret), 201 if is_new else 200)


@router.delete("/{key}", response_model=Message, responses=errors(401, 403, 404))
async def delete_secret(request: Request, account_id: str, key: str) -> Response:
    await services_of(request).secrets.delete(caller_of(request), WorkspaceId(account_id), key)
    return answer({"message": "Secret deleted successfully"})
