"""The trigger that the address of a request names, and the proof of its sender. No code is evaluated before that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.expression import ExpressionFailed, render
from flowrunner.domain.triggers import Verify, WebhookTrigger
from flowrunner.domain.values import WorkspaceId
from flowrunner.domain.verification import (
    GITHUB,
    NO_SECRET,
    Hmac,
    Rejected,
    Scheme,
    Slack,
    Standard,
    Stripe,
    Token,
    Unverified,
    Verified,
    verify,
)
from flowrunner.ports.clock import Clock
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.secrets import Vault
from flowrunner.ports.triggers import TriggerStore
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_requests import HookRequest, challenge_of
from flowrunner.services.hook_starts import OpenHook

logger = structlog.get_logger()

_NOBODY: Final = WorkspaceId("")
_STAND_IN: Final = "a secret that no sender has"


@dataclass(frozen=True, slots=True)
class Challenge:
    """The text with which a sender wants to be answered."""

    text: str


class HookRefused(FlowRunnerError):
    """A request that is not accepted. Its sender learns nothing more, not even whether the trigger exists."""


class HookSenders:
    """The check of senders.

    Args:
        on_refusal: Called for each request that is refused, unless its flow is being saved.
    """

    def __init__(
        self,
        triggers: TriggerStore,
        library: CompiledFlows,
        vault: Vault,
        *,
        refused: RefusedHooks,
        clock: Clock,
        on_refusal: Callable[[], None],
    ) -> None:
        self._triggers = triggers
        self._library = library
        self._vault = vault
        self._refused = refused
        self._clock = clock
        self._on_refusal = on_refusal

    async def open(self, token: str, request: HookRequest) -> OpenHook | Challenge:
        """Return the trigger of a URL if the request proves its sender. Raises: HookRefused; Unavailable."""
        trigger = await self._triggers.by_token(token)
        if trigger is None or not trigger.is_armed:
            # The same reads and computations as for a trigger that exists, so that their time reveals nothing.
            await self._vault.reveal(_NOBODY, ())
            verify(Standard(), request.headers, request.body, secrets=[_STAND_IN], now=self._clock.now())
            self._on_refusal()
            raise HookRefused
        flow = await self._library.get(trigger.workspace_id, trigger.revision_id)
        written = flow.triggers.get(trigger.name)
        if written is None or not isinstance(written.spec, WebhookTrigger):
            # The flow is being saved.
            raise HookRefused
        scheme = scheme_of(written.spec.verify)
        secrets = await self._secrets(trigger.workspace_id, written.spec.verify)
        verdict = self._verdict(scheme, request, secrets)
        is_verified = isinstance(verdict, Verified) and request.method == "POST"
        challenge = challenge_of(request, scheme, secrets, is_verified=is_verified)
        if challenge is not None:
            return Challenge(challenge)
        if not isinstance(verdict, Verified) or request.method != "POST":
            reason = verdict.reason if isinstance(verdict, Rejected) else f"The method is {request.method[:20]}"
            self._refused.add(trigger.id, reason, at=self._clock.now())
            logger.info(
                "hook.refused",
                trigger_id=trigger.id,
                workspace_id=trigger.workspace_id,
                flow_id=trigger.flow_id,
                # The sender chooses the text of another method.
                reason=verdict.reason if isinstance(verdict, Rejected) else "The method is not POST",
            )
            self._on_refusal()
            raise HookRefused
        return OpenHook(
            trigger=trigger,
            flow=flow,
            written=written,
            spec=written.spec,
            scheme=scheme,
            replay_id=verdict.replay_id,
        )

    def _verdict(self, scheme: Scheme, request: HookRequest, secrets: Sequence[str]) -> Verified | Rejected:
        if not secrets and not isinstance(scheme, Unverified):
            verify(scheme, request.headers, request.body, secrets=[_STAND_IN], now=self._clock.now())
            return NO_SECRET
        return verify(scheme, request.headers, request.body, secrets=secrets, now=self._clock.now())

    async def _secrets(self, workspace_id: WorkspaceId, wanted: Verify) -> Sequence[str]:
        names = {name for template in wanted.secrets for name in template.mentions.secrets}
        values = {"secrets": await self._vault.reveal(workspace_id, names)}
        found = []
        for template in wanted.secrets:
            if template.codes:
                # Nothing is evaluated before the sender is verified.
                continue
            try:
                value = render(template.template, values)
            except ExpressionFailed:
                continue
            if isinstance(value, str) and value:
                found.append(value)
        return found


def scheme_of(wanted: Verify) -> Scheme:
    match wanted.scheme:
        case "standard":
            return Standard()
        case "github":
            return GITHUB
        case "stripe":
            return Stripe()
        case "slack":
            return Slack()
        case "hmac":
            return Hmac(
                header=wanted.header, algorithm=wanted.algorithm, encoding=wanted.encoding, prefix=wanted.prefix
            )
        case "token":
            return Token(wanted.header)
        case "none":
            return Unverified()
