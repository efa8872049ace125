"""The pages of links to approvals, and the revocation of a link."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from flowrunner.api import approval_page
from flowrunner.api.approval_form import MAX_FORM_BYTES, data_of, decision_of, fields_of, parsed_form, whole_data_of
from flowrunner.api.http.answers import Message, Reply, answer, errors
from flowrunner.api.http.authentication import address_of, caller_of
from flowrunner.api.http.bodies import read_bounded
from flowrunner.api.http.edge import OWN_HEADERS
from flowrunner.api.http.errors import InvalidRequest, answer_to, record_refusal
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.routing import ProtectedRoute, PublicRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.account import Right
from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, TooManyRequests, Unavailable
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.services.approval_links import LinkIsOver, LinkUnknown
from flowrunner.threads import on_thread_if

_FORM: Final = "application/x-www-form-urlencoded"

# Errors that have a page.
_SHOWN: Final = (LinkUnknown, LinkIsOver, TooManyRequests, Unavailable, Forbidden, Conflict, InvalidRequest)

public = APIRouter(route_class=PublicRoute, include_in_schema=False)
router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)


@public.get("/approve/{token}")
async def show_approval(request: Request, token: str) -> HTMLResponse:
    """Show an approval with its form. Opening a link answers nothing: programs that scan mails follow links."""
    request.scope[OWN_HEADERS] = approval_page.LINK_HEADERS
    try:
        return approval_page.question(await services_of(request).linked_approvals.open(token))
    except _SHOWN as error:
        return await _page_of(request, error)


@public.post("/approve/{token}")
async def answer_by_link(request: Request, token: str) -> HTMLResponse:
    """Answer an approval by the form of its page."""
    request.scope[OWN_HEADERS] = approval_page.LINK_HEADERS
    approvals = services_of(request).linked_approvals
    try:
        state_of(request).browser.check_is_own_form(request.headers)
        # First, because a form may be longer than what others without an account may send.
        approval = await approvals.open(token)
        body = await _form_of(request)
        sent: dict[str, str] = {}
        try:
            sent = await on_thread_if(len(body), parsed_form, body)
            approved, data = await on_thread_if(len(body), _answer_in, sent, approval.wait.form)
            await approvals.answer(approval, approved=approved, data=data, address=address_of(request))
        except InvalidInput as error:
            again = partial(approval_page.question, approval, sent=sent, faults=error.faults, status=422)
            return await on_thread_if(len(body), again)
        return approval_page.answered(approved=approved)
    except _SHOWN as error:
        return await _page_of(request, error)


async def _page_of(request: Request, error: Exception) -> HTMLResponse:
    """Return the page for an error of `_SHOWN`."""
    match error:
        case LinkUnknown():
            return approval_page.unknown()
        case LinkIsOver():
            return approval_page.over(error.reason)
        case TooManyRequests():
            return await _too_many(request, error)
        case Unavailable():
            return approval_page.unavailable()
        case InvalidRequest():
            return approval_page.refused(str(error), status=error.status)
        case _:
            return approval_page.refused(str(error), status=403 if isinstance(error, Forbidden) else 409)


async def _too_many(request: Request, error: TooManyRequests) -> HTMLResponse:
    """Return the page for a link that is used too often, with the headers of an answer to a program."""
    await record_refusal(request, error)
    headers = answer_to(request.scope["request_id"], error).headers
    limits = {name: value for name, value in headers.items() if not name.startswith("content-")}
    return approval_page.refused(str(error), status=429, headers=limits)


def _answer_in(sent: Mapping[str, str], form: JSON) -> tuple[bool, JSON]:
    """Return whether a form that was sent approves, and its data. Raises: InvalidInput."""
    approved, fields = decision_of(sent), fields_of(form)
    data = data_of(fields, sent)
    return approved, whole_data_of(fields, data) if approved else data


async def _form_of(request: Request) -> bytes:
    """Raises: InvalidRequest."""
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != _FORM or parameters.replace(" ", "").lower() not in ("", "charset=utf-8"):
        raise InvalidRequest(f"The answer must be a form: {_FORM}", status=415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest("The request body must not be compressed", status=415)
    return await read_bounded(request, MAX_FORM_BYTES)


@router.delete(
    "/executions/{id}/approvals/{node:path}/link",
    responses=errors(401, 403, 404, 409),
)
@RoutePolicy(right=Right.RUN)
async def revoke_link(request: Request, id: str, node: str) -> Reply[Message]:
    """Revoke the link that answers an approval. The approval goes on to wait for members."""
    await services_of(request).linked_approvals.revoke(caller_of(request), ExecutionId(id), node)
    return answer(Message(message="Link revoked successfully"))
