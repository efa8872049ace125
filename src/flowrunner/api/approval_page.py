"""The plain page of a link to an approval: HTML without scripts, which works in any browser.

All text that flows or people have written is escaped; nothing of it becomes markup, or reorders what is shown.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

from flowrunner.api.approval_form import APPROVE, DECISION, REJECT, FormField, fields_of, shown_value
from flowrunner.api.http.edge import COMMON_HEADERS, NO_STORE
from flowrunner.domain.errors import Fault
from flowrunner.domain.values import JSON
from flowrunner.services.approval_links import LinkedApproval, LinkEnd

# Nothing is kept, framed, scripted or told to another site.
LINK_HEADERS: Final = (
    *COMMON_HEADERS,
    NO_STORE,
    (b"x-robots-tag", b"noindex, nofollow"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
)
_ENDS: Final[Mapping[LinkEnd, tuple[str, str]]] = {
    "answered": ("Already answered", "This approval has its answer. Nothing was changed."),
    "expired": ("Too late", "The time for this answer is over. Nothing was changed."),
    "ended": ("No longer needed", "What this was asked for has ended. Nothing was changed."),
    "revoked": ("Link revoked", "This link no longer works. Ask its sender for another one."),
}
_MOST_PROMPT: Final = 20_000
_MOST_FAULTS: Final = 20
# Characters of the message and of the place of a fault.
_MOST_FAULT: Final = 500
# Controls of the direction of text, with which "Pay 001" can be shown as "Pay 100".
_REORDERS: Final = {
    code: f"[U+{code:04X}]" for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def question(
    approval: LinkedApproval, *, sent: Mapping[str, str] | None = None, faults: Sequence[Fault] = (), status: int = 200
) -> HTMLResponse:
    """Return the page that asks for an answer.

    Args:
        sent: The fields of an answer that was not accepted, because of ``faults``.
    """
    fields, parts, faults = fields_of(approval.wait.form), [], faults[:_MOST_FAULTS]
    if faults:
        told = "".join(f"<li>{_place(fault, fields)}: {_shown(fault.message[:_MOST_FAULT])}</li>" for fault in faults)
        parts.append(
            f'<div class="alert" role="alert"><b>The answer was not accepted</b><ul class="small">{told}</ul></div>'
        )
    prompt = approval.wait.prompt[:_MOST_PROMPT] or "Approve?"
    parts.append(f'<p class="prompt">{_shown(prompt)}</p>')
    about = f"{approval.flow_name}, {approval.step.node}" if approval.flow_name else approval.step.node
    until = "" if approval.until is None else f" · until {approval.until:%Y-%m-%d %H:%M} UTC"
    parts.append(f'<p class="muted small">{_shown(about)}{until}</p>')
    wrong = {field.key for field in fields if any(_is_in(fault, field) for fault in faults)}
    inner = "".join(
        _field(field, None if sent is None else sent.get(field.key), is_wrong=field.key in wrong) for field in fields
    )
    buttons = (
        f'<div class="row"><button class="btn danger" name="{DECISION}" value="{REJECT}" formnovalidate>Reject</button>'
        f'<button class="btn primary right" name="{DECISION}" value="{APPROVE}">Approve</button></div>'
    )
    # The address of the form is that of the page.
    parts.append(f'<form class="stack" method="post" accept-charset="utf-8">{inner}{buttons}</form>')
    return _page("Approval", "".join(parts), status=status)


def answered(*, approved: bool) -> HTMLResponse:
    text = "Your answer is recorded. You can close this page."
    return _page("Approved" if approved else "Rejected", f"<p>{text}</p>")


def over(reason: LinkEnd) -> HTMLResponse:
    title, text = _ENDS[reason]
    return _page(title, f"<p>{text}</p>", status=410)


def unknown() -> HTMLResponse:
    text = "This link is not valid. It may be incomplete: open it again from the message that you received."
    return _page("Unknown link", f"<p>{text}</p>", status=404)


def unavailable() -> HTMLResponse:
    text = "The server cannot answer at the moment: try again in a minute."
    return refused(text, status=503, headers={"Retry-After": "60"})


def refused(message: str, *, status: int, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    return _page("Not accepted", f"<p>{escape(message)}</p>", status=status, headers=headers)


def _shown(text: str) -> str:
    """Return the text as HTML, with the characters that would reorder it by their names."""
    return escape(text.translate(_REORDERS))


def _is_in(fault: Fault, field: FormField) -> bool:
    place = f"data.{field.name}" if field.name else "data"
    return fault.path == place or fault.path.startswith((f"{place}.", f"{place}["))


def _place(fault: Fault, fields: Sequence[FormField]) -> str:
    """Return the place of a fault as people see it: the label of its field."""
    label = next((field.label for field in fields if _is_in(fault, field)), None)
    return f"<code>{_shown(fault.path[:_MOST_FAULT])}</code>" if label is None else f"<b>{_shown(label)}</b>"


def _page(title: str, content: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · FlowRunner</title>"
        '<link rel="icon" href="/favicon.svg" type="image/svg+xml"><link rel="stylesheet" href="/assets/style.css">'
        f'</head><body><main class="alone"><div class="card"><div class="brand">FlowRunner</div><h1>{title}</h1>'
        f"{content}</div></main></body></html>",
        status,
        headers,
    )


def _field(field: FormField, text: str | None, *, is_wrong: bool = False) -> str:
    """Return a field with its label. Args: text: What was sent before; None for its default."""
    key, hint = escape(field.key), ""
    how = f"Write JSON, such as {field.example}" if field.kind == "json" else ""
    if field.hint or how:
        hint = "".join(f'<span class="hint">{_shown(each)}</span>' for each in (field.hint, how) if each)
    is_required = field.is_required and field.kind != "boolean"
    required = (" required" if is_required else "") + (' aria-invalid="true"' if is_wrong else "")
    value = escape(shown_value(field, field.default) if text is None else text)
    if field.kind == "boolean":
        is_on = field.default is True if text is None else text != ""
        checked = " checked" if is_on else ""
        box = f'<input type="checkbox" name="{key}" value="yes"{checked}>'
        return f'<label class="check">{box}<span>{_shown(field.label)}{hint}</span></label>'
    match field.kind:
        case "choice":
            control = f'<select id="{key}" name="{key}"{required}>{_options(field, text)}</select>'
        case "lines" | "json":
            control = f'<textarea id="{key}" name="{key}" rows="4"{required}>\n{value}</textarea>'
        case "number" | "integer":
            step = "1" if field.kind == "integer" else "any"
            control = f'<input id="{key}" name="{key}" type="number" step="{step}" value="{value}"{required}>'
        case "date":
            control = f'<input id="{key}" name="{key}" type="date" value="{value}"{required}>'
        case _:
            control = f'<input id="{key}" name="{key}" value="{value}"{required}>'
    mark = ' <span class="muted">· required</span>' if is_required else ""
    return f'<div class="field"><label for="{key}">{_shown(field.label)}{mark}</label>{control}{hint}</div>'


def _options(field: FormField, text: str | None) -> str:
    found = ['<option value=""></option>']
    for place, choice in enumerate(field.choices):
        is_chosen = text == str(place) if text is not None else _is_default(field, choice)
        selected = " selected" if is_chosen else ""
        found.append(f'<option value="{place}"{selected}>{_shown(shown_value(field, choice))}</option>')
    return "".join(found)


def _is_default(field: FormField, choice: JSON) -> bool:
    return field.default is not None and field.default == choice
