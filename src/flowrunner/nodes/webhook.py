"""`webhook`: tell a server something."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from flowrunner.nodes.http import (
    ERRORS,
    REPEATABLE_METHODS,
    TIMEOUT_SECONDS,
    Method,
    is_long_value,
    json_body_soon,
    send,
)
from flowrunner.nodes.http_request import Headers, header_texts, url_faults
from flowrunner.plugin import JSON, NodeType, ParamFault, Params, StepContext


class WebhookParams(Params):
    url: str = Field(min_length=1, max_length=8192)
    method: Method = "POST"
    headers: Headers = Field(default={})
    body: Any = Field(default=None, description="The node's input if absent.")
    secret: str | None = Field(
        default=None, min_length=1, description="Signs the request as Standard Webhooks 1.0 says."
    )


class Webhook(NodeType[WebhookParams]):
    """Sends a value to a server and gives its answer."""

    type = "webhook"
    Params = WebhookParams
    errors: ClassVar[tuple[str, ...]] = ERRORS
    timeout_seconds = TIMEOUT_SECONDS

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        return str(params.get("method", "POST")).upper() in REPEATABLE_METHODS

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return [*super().check(params), *url_faults(params)]

    async def run(self, params: WebhookParams, context: StepContext) -> JSON:
        value = params.body if "body" in params.model_fields_set else context.input

        async def write() -> tuple[bytes | None, Mapping[str, str]]:
            body, headers = await json_body_soon(value, header_texts(params.headers))
            if params.secret is not None:
                timestamp = str(int(context.now().timestamp()))
                headers = {**headers, **signature(params.secret, context.idempotency_key, timestamp, body)}
            return body, headers

        return await send(
            context, method=params.method, url=params.url, write=write, is_long=is_long_value(value), said="Webhook"
        )


def signature(secret: str, id: str, timestamp: str, body: bytes) -> Mapping[str, str]:
    """The headers that prove who sent a webhook.

    Source: Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`; a secret that starts with
    `whsec_` holds its key as base64.
    """
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = secret.encode()
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
