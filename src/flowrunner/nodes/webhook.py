"""Node type `webhook`: send a signed request to a server."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from flowrunner.domain.standard_webhooks import key_of, signature
from flowrunner.nodes.checks import checked
from flowrunner.nodes.http import (
    ERRORS,
    REPEATABLE_METHODS,
    RESULT_KEYS,
    TIMEOUT_SECONDS,
    Headers,
    Method,
    header_texts,
    is_long_value,
    json_body,
    send,
    url_faults,
    with_headers,
)
from flowrunner.plugin import JSON, NodeType, ParamFault, Params, StepContext


class WebhookParams(Params):
    url: str = Field(min_length=1, max_length=8192)
    method: Method = "POST"
    headers: Headers = Field(default={})
    body: Any = Field(default=None, description="The node's input if absent.")
    secret: Annotated[str, Field(min_length=1), checked(key_of)] | None = Field(
        default=None, description="Signs the request by Standard Webhooks 1.0."
    )


class Webhook(NodeType[WebhookParams]):
    """Sends a value to a server and returns the answer."""

    type = "webhook"
    examples = (
        "type: webhook\nparams:\n  url: https://hooks.example.com/orders\n"
        "  body: {event: order.paid, order: '${input}'}\n",
        "type: webhook\nparams:\n  url: https://hooks.example.com/orders\n"
        "  body: {event: order.paid, order: '${input.id}'}\n  secret: ${secrets.WEBHOOK_KEY}\n",
    )
    Params = WebhookParams
    keeps_params = True
    errors: ClassVar[tuple[str, ...]] = ERRORS
    timeout_seconds = TIMEOUT_SECONDS
    result_keys = RESULT_KEYS

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        return str(params.get("method", "POST")).upper() in REPEATABLE_METHODS

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return [*super().check(params), *url_faults(params)]

    async def run(self, params: WebhookParams, context: StepContext) -> JSON:
        value = params.body if "body" in params.model_fields_set else context.input

        def write() -> tuple[bytes, Mapping[str, str]]:
            body, headers = json_body(value, header_texts(params.headers))
            if params.secret is not None:
                timestamp = str(int(context.now().timestamp()))
                headers = with_headers(headers, signature(params.secret, context.idempotency_key, timestamp, body))
            return body, headers

        return await send(
            context, method=params.method, url=params.url, write=write, is_long=is_long_value(value), said="Webhook"
        )
