"""Policies of routes: the right that a route requires, the body that it takes, and the way it treats repeats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flowrunner.domain.account import Right

F = TypeVar("F", bound=Callable[..., Any])

_POLICY: Final = "policy"


@dataclass(frozen=True, slots=True)
class Repeats:
    """The way in which a route recognizes a repeated request.

    Attributes:
        omitted: Fields of the body that are not compared: of what is secret no digest is kept.
        keeps_answer: False for an answer that is secret.
    """

    omitted: Sequence[str] = ()
    keeps_answer: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """The policy of a route: a decorator of its function, below that of the router.

    Attributes:
        right: The right that callers must have where the request acts; None leaves it to the class of the route.
        is_change: Each request adds an audit entry, which other requests that require this right do not.
        most_bytes: The limit of the body; None leaves it to the class of the route.
        takes_yaml: The body may also be a flow document, instead of its `definition`.
        takes_zip: The body is an archive, which the function reads.
        repeats: Repeated requests with an `Idempotency-Key` get the first answer. The audit entry of the first one
            claims the key, in the transaction of its change.
        parameters: Headers and query parameters that the function reads itself, in the form of OpenAPI.
    """

    right: Right | None = None
    is_change: bool = False
    most_bytes: int | None = None
    takes_yaml: bool = False
    takes_zip: bool = False
    repeats: Repeats | None = None
    parameters: Sequence[Mapping[str, Any]] = ()

    def __call__(self, endpoint: F) -> F:
        """Declare this as the policy of a route's function."""
        setattr(endpoint, _POLICY, self)
        return endpoint


_USUAL: Final = RoutePolicy()


def policy_of(endpoint: Callable[..., Any]) -> RoutePolicy:
    """Return the policy that is declared for a route's function, or the usual one."""
    found: RoutePolicy = getattr(endpoint, _POLICY, _USUAL)
    return found
