"""Node types of the flow language that are not built in yet, as far as editors need to know them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class P(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Case(P):
    when: str = Field(description="An expression without braces.")
    action: str


class OldCase(P):
    condition: str
    action: str


class Auth(P):
    username: str | None = None
    password: str | None = None
    token: str | None = Field(default=None, description="Sent as a bearer token.")


S = str | int | float | bool


class Http(P):
    url: str = Field(min_length=1, max_length=8192)
    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH"] = Field(default="GET", description="How.")
    headers: dict[str, S] = Field(default={})
    query: dict[str, S | list[S]] = Field(default={}, description="Added to the URL.")
    body: Any = None
    form: dict[str, S] | None = None
    auth: Auth | None = None
    timeout: str | None = None
    follow_redirects: bool = False
    follow_redirect: bool = False
    expect_status: int | list[int] | None = None
    response: Literal["json", "text", "base64"] | None = None


class Webhook(P):
    url: str = Field(min_length=1)
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, S] = {}
    body: Any = None
    secret: str | None = None


class Transform(P):
    script: str | None = None
    value: Any = None
    mapping: dict[str, Any] | None = None


class Switch(P):
    cases: list[Case]
    default_action: str = "default"


class Condition(P):
    conditions: list[OldCase]
    default_action: str = "default"


class Foreach(P):
    items: list[Any]
    as_: str = Field(default="item", alias="as", pattern="^[A-Za-z_$][A-Za-z0-9_$]*$")
    concurrency: int = Field(default=1, ge=1, le=100)
    on_error: Literal["fail", "continue", "collect"] = "fail"


class While(P):
    when: str
    max_iterations: int = Field(default=1000, ge=1)
    delay: str | None = None


class Parallel(P):
    join: Literal["all", "any"] | int = "all"


class Flow(P):
    flow: str
    version: int | None = None
    input: dict[str, Any] | None = None
    wait: bool = True


class Delay(P):
    duration: str | None = None
    until: str | None = None


class Wait(P):
    key: str
    timeout: str | None = None


class Approval(P):
    prompt: str
    form: dict[str, Any] | None = None
    roles: list[str] = []


class Return(P):
    value: Any = None


class Fail(P):
    error: str = "node.fail"
    message: str
    data: Any = None


class Log(P):
    level: Literal["debug", "info", "warn", "error"] = "info"
    message: str
    data: Any = None


class Set(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class StandIn:
    name: str
    summary: str
    model: Any
    errors: tuple[str, ...] = ()
    inner: str | None = None
    actions: frozenset[str] = frozenset({"default"})

    def actions_of(self, params):
        return self.actions

    def params_schema(self):
        return self.model.model_json_schema(by_alias=True)


NODE_TYPES = {
    t.name: t
    for t in [
        StandIn("http.request", "Sends a request and gives the answer.", Http, ("http", "connection", "egress")),
        StandIn("webhook", "Sends a value to a server.", Webhook, ("http", "connection")),
        StandIn("transform", "Makes a value of others.", Transform),
        StandIn("switch", "Picks the way.", Switch),
        StandIn("condition", "Older form of switch.", Condition),
        StandIn("foreach", "Runs nodes for each element.", Foreach, inner="nodes"),
        StandIn("while", "Runs nodes as long as.", While, inner="nodes"),
        StandIn("parallel", "Side by side.", Parallel, inner="branches"),
        StandIn("flow", "Runs another flow.", Flow),
        StandIn("delay", "Waits.", Delay),
        StandIn("wait", "Waits for a signal.", Wait, actions=frozenset({"default", "timeout"})),
        StandIn("approval", "Asks people.", Approval, actions=frozenset({"approved", "rejected", "timeout"})),
        StandIn("return", "Ends the execution.", Return),
        StandIn("fail", "Fails.", Fail),
        StandIn("log", "Writes a line.", Log),
        StandIn("set", "Sets vars.", Set),
    ]
}


def specs() -> Mapping[str, StandIn]:
    return NODE_TYPES
