"""Messages of callbacks that people read: in chats and in mailboxes."""

import html
import re
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.callbacks import TEST_EVENT, CallbackEvent
from flowrunner.domain.values import JSON, rfc3339

_MOST_REASON_CHARACTERS: Final = 1000
_MOST_NAME_CHARACTERS: Final = 200
_MOST_SUBJECT_CHARACTERS: Final = 200
# Discord rejects a longer text. It counts as JavaScript does.
_MOST_DISCORD_UNITS: Final = 2000
_VERBS: Final = {
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "was cancelled",
    "execution.waiting": "waits",
    "approval.requested": "waits for an approval",
    "trigger.missed": "missed a start",
    "trigger.paused": "was paused",
    "trigger.failing": "fails again and again",
}
_OPEN: Final = "Open in FlowRunner"


def text_of(event: CallbackEvent) -> str:
    """Return the event as a sentence in one line."""
    if event.type == TEST_EVENT:
        return "This is a test of a FlowRunner callback."
    data = event.data
    if event.type == "callback.disabled":
        name = _line(data.get("name"), _MOST_NAME_CHARACTERS) or event.subject
        return f"The callback '{name}' was disabled: {_line(data.get('reason'), _MOST_REASON_CHARACTERS)}."
    execution, trigger = _object(data.get("execution")), _object(data.get("trigger"))
    flow = _line(execution.get("flow_name") or data.get("flow_name"), _MOST_NAME_CHARACTERS)
    subject = f"Flow '{flow}'" if flow else "An execution"
    if trigger:
        subject = f"Trigger '{trigger.get('name')}' of " + (f"flow '{flow}'" if flow else "a flow")
    wait = _wait_in(event, execution.get("waiting_for"))
    text = f"{subject} {_wait_of(wait) or _missed(data) or _VERBS.get(event.type, event.type)}"
    reason = _line(wait.get("prompt") or execution.get("error") or data.get("reason"), _MOST_REASON_CHARACTERS)
    return f"{text}: {reason}" if reason else f"{text}."


def _wait_in(event: CallbackEvent, waits: JSON) -> Mapping[str, JSON]:
    """Return the wait that an event tells of, of those of its execution; nothing if it is over."""
    known = [_object(wait) for wait in waits] if isinstance(waits, list) else []
    if event.type != "approval.requested":
        return next((wait for wait in known if _wait_of(wait) is not None), {})
    at = rfc3339(event.at)
    asked = [wait for wait in known if wait.get("type") == "approval" and _since(wait) <= at]
    return max(asked, key=_since, default={})


def _since(wait: Mapping[str, JSON]) -> str:
    return str(wait.get("since", ""))


def _wait_of(wait: Mapping[str, JSON]) -> str | None:
    match wait.get("type"):
        case "approval":
            return "waits for an approval"
        case "signal":
            return f"waits for the signal '{_line(wait.get('key'), _MOST_NAME_CHARACTERS)}'"
        case _:
            return None


def _missed(data: Mapping[str, JSON]) -> str | None:
    missed = data.get("missed")
    return f"missed {missed} starts" if isinstance(missed, int) and missed > 1 else None


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}


def _line(text: JSON, most: int) -> str:
    """Return a text as a part of a line, without characters that are invisible or turn its direction."""
    if not isinstance(text, str):
        return ""
    # Cut first: a text may have a megabyte.
    shown = text[: 2 * most]
    line = " ".join("".join(character if character.isprintable() else " " for character in shown).split())
    return line if len(line) <= most and len(shown) == len(text) else f"{line[:most]}…"


def slack_message(event: CallbackEvent) -> JSON:
    """Return a message of Slack; other chats take the same."""
    text = html.escape(text_of(event), quote=False)
    link = [] if event.link is None else [f"<{event.link}|{_OPEN}>"]
    place = " · ".join([*link, *([html.escape(_workspace(event), quote=False)] if event.workspace_name else [])])
    return {"text": f"{text}\n{place}" if place else text}


def discord_message(event: CallbackEvent) -> JSON:
    # Otherwise a link in an error text could look like another one.
    text, name = (re.sub(r"[\\\[]", r"\\\g<0>", part) for part in (text_of(event), _workspace(event)))
    lines = [*([name] if event.workspace_name else []), *([] if event.link is None else [f"<{event.link}>"])]
    place = "".join(f"\n{line}" for line in lines)
    # Otherwise an error text could notify everybody in a channel.
    return {"content": _cut(text, _MOST_DISCORD_UNITS - _units(place)) + place, "allowed_mentions": {"parse": []}}


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "replace")) // 2


def _cut(text: str, most: int) -> str:
    if _units(text) <= most:
        return text
    return text.encode("utf-16-le", "replace")[: 2 * (most - 1)].decode("utf-16-le", "ignore") + "…"


def teams_message(event: CallbackEvent) -> JSON:
    """Return an adaptive card, as a webhook of Teams' workflows takes it."""
    # A text run is plain text; a text block would read Markdown.
    body: list[JSON] = [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text_of(event)}]}]
    if event.workspace_name:
        run: dict[str, JSON] = {"type": "TextRun", "text": _workspace(event), "isSubtle": True, "size": "Small"}
        body.append({"type": "RichTextBlock", "inlines": [run]})
    card: dict[str, JSON] = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "body": body,
    }
    if event.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": _OPEN, "url": event.link}]
    content: dict[str, JSON] = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [content]}


def mail_of(event: CallbackEvent, *, callback_name: str) -> tuple[str, str]:
    """Return the subject and the text of an e-mail."""
    text, execution = text_of(event), _object(event.data.get("execution"))
    facts = {
        "Workspace": _workspace(event),
        "Execution": execution.get("id"),
        "Started": execution.get("started_at"),
        "At": rfc3339(event.at),
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    links = [] if event.link is None else [event.link, ""]
    sender = _line(callback_name, _MOST_NAME_CHARACTERS)
    footer = f"Sent by the callback '{sender}'." if sender else "Sent by a callback."
    subject = text if len(text) <= _MOST_SUBJECT_CHARACTERS else f"{text[:_MOST_SUBJECT_CHARACTERS]}…"
    return subject, "\n".join([text, "", *links, *lines, "", footer])


def _workspace(event: CallbackEvent) -> str:
    return _line(event.workspace_name, _MOST_NAME_CHARACTERS)
