"""Messages of callbacks as people read them, with texts that strangers have written."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.callback_texts import discord_message, mail_of, slack_message, teams_message, text_of
from flowrunner.domain.callbacks import CallbackEvent, cloud_event
from flowrunner.domain.values import JSON, WorkspaceId, rfc3339
from support.databases import NOON

LINK: Final = "https://flows.example.com/w/w-1/executions/exec-1"


def event(
    type: str = "execution.failed", *, link: str | None = LINK, workspace: str = "Data <team>", **data: JSON
) -> Any:
    return CallbackEvent(
        id="delivery-1",
        type=type,
        workspace_id=WorkspaceId("w-1"),
        at=NOON,
        subject="exec-1",
        data=data,
        workspace_name=workspace,
        link=link,
    )


def failed(error: str, flow: str = "Orders", **more: Any) -> Any:
    return event(execution={"id": "exec-1", "flow_name": flow, "error": error}, **more)


def waiting(*waits: JSON, type: str = "execution.waiting") -> str:
    return text_of(event(type, execution={"id": "exec-1", "flow_name": "Orders", "waiting_for": [*waits]}))


@pytest.mark.parametrize(
    ("type", "data", "text"),
    [
        ("execution.completed", {"execution": {"flow_name": "it's"}}, "Flow 'it's' completed."),
        ("execution.failed", {"execution": {"id": "exec-1"}}, "An execution failed."),
        ("trigger.missed", {"trigger": {"name": "t"}, "flow_name": "F", "missed": 1},
         "Trigger 't' of flow 'F' missed a start."),
        ("trigger.missed", {"trigger": {"name": "t"}, "flow_name": "F", "missed": 3},
         "Trigger 't' of flow 'F' missed 3 starts."),
        ("trigger.failing", {"trigger": {"name": "t"}, "flow_name": "it's", "reason": "No 'n'"},
         "Trigger 't' of flow 'it's' fails again and again: No 'n'"),
        ("trigger.paused", {"trigger": {"name": "t"}}, "Trigger 't' of a flow was paused."),
        ("callback.disabled", {"name": "\n", "reason": "the receiver answered 410 Gone"},
         "The callback 'exec-1' was disabled: the receiver answered 410 Gone."),
        ("callback.disabled", {"name": "Pager", "reason": "its name is unknown"},
         "The callback 'Pager' was disabled: its name is unknown."),
        ("callback.test", {}, "This is a test of a FlowRunner callback."),
    ],
)  # fmt: skip
def test_each_event_is_a_sentence(type: str, data: Mapping[str, Any], text: str) -> None:
    assert text_of(event(type, **data)) == text


def test_who_is_asked_reads_the_question_and_who_waits_what_for() -> None:
    ask = {"type": "approval", "prompt": "Refund\n25 €?", "since": rfc3339(NOON)}

    assert waiting(ask, type="approval.requested") == "Flow 'Orders' waits for an approval: Refund 25 €?"
    assert waiting(ask) == "Flow 'Orders' waits for an approval: Refund 25 €?"
    assert waiting({"type": "signal", "key": "paid"}) == "Flow 'Orders' waits for the signal 'paid'."
    assert waiting({"type": "delay"}) == "Flow 'Orders' waits."
    # It has gone on since.
    paid: JSON = {"type": "signal", "key": "paid"}
    assert waiting(paid, type="approval.requested") == "Flow 'Orders' waits for an approval."
    assert waiting(type="approval.requested") == "Flow 'Orders' waits for an approval."


def test_of_several_questions_the_one_that_was_asked_is_told() -> None:
    def ask(prompt: str, seconds: int) -> JSON:
        return {"type": "approval", "prompt": prompt, "since": rfc3339(NOON + timedelta(seconds=seconds))}

    waits = [{"type": "delay"}, ask("Earlier?", -9), ask("Now?", 0), ask("Later?", 9)]

    assert waiting(*waits, type="approval.requested") == "Flow 'Orders' waits for an approval: Now?"
    assert waiting(*waits) == "Flow 'Orders' waits for an approval: Earlier?"
    assert waiting(ask("Later?", 9), type="approval.requested") == "Flow 'Orders' waits for an approval."


def test_slack_gets_no_markup_from_a_text_and_a_link_to_the_execution() -> None:
    message: Any = slack_message(failed("<!channel> <https://evil.example|Open> & so on"))

    assert message["text"] == (
        "Flow 'Orders' failed: &lt;!channel&gt; &lt;https://evil.example|Open&gt; &amp; so on\n"
        f"<{LINK}|Open in FlowRunner> · Data &lt;team&gt;"
    )


def test_discord_notifies_nobody_and_shows_no_link_under_another_name() -> None:
    message: Any = discord_message(failed(r"@everyone [Open](https://evil.example) \[Open](https://evil.example)"))

    assert message["allowed_mentions"] == {"parse": []}
    assert message["content"] == (
        r"Flow 'Orders' failed: @everyone \[Open](https://evil.example) \\\[Open](https://evil.example)"
        f"\nData <team>\n<{LINK}>"
    )


@pytest.mark.parametrize("character", ["x", "[", "😀", "\u202e"])
def test_a_long_text_is_cut_before_the_link(character: str) -> None:
    long = failed(character * 100_000, flow=character * 500)
    message: Any = discord_message(long)

    assert len(message["content"].encode("utf-16-le")) <= 2 * 2000
    assert message["content"].endswith(f"\nData <team>\n<{LINK}>")
    assert len(text_of(long)) < 1300
    assert len(mail_of(long, callback_name="c")[0]) <= 201


def test_teams_gets_plain_text_and_a_button() -> None:
    message: Any = teams_message(failed("**bold** [Open](https://evil.example) <at>all</at>"))
    card = message["attachments"][0]["content"]

    assert [(block["type"], [run["type"] for run in block["inlines"]]) for block in card["body"]] == [
        ("RichTextBlock", ["TextRun"])
    ] * 2
    assert card["body"][1]["inlines"][0]["text"] == "Data <team>"
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open in FlowRunner", "url": LINK}]


def test_a_mail_has_one_line_as_subject_and_says_where_it_is_from() -> None:
    subject, text = mail_of(failed("a\r\nBcc: x@evil.example\u2028b\x1b[31m\u202ec"), callback_name="On call\r\nX: y")

    assert subject == "Flow 'Orders' failed: a Bcc: x@evil.example b [31m c"
    assert text.splitlines() == [
        subject,
        "",
        LINK,
        "",
        "Workspace: Data <team>",
        "Execution: exec-1",
        "At: 2027-01-01T12:00:00.000Z",
        "",
        "Sent by the callback 'On call X: y'.",
    ]


def test_without_a_link_and_a_name_the_sentence_stands_alone() -> None:
    bare = failed("out", link=None, workspace="")
    slack: Any = slack_message(bare)
    discord: Any = discord_message(bare)

    assert slack["text"] == discord["content"] == "Flow 'Orders' failed: out"
    assert mail_of(bare, callback_name="")[1].endswith("Sent by a callback.")


def test_an_event_is_a_cloud_event_with_the_id_of_its_subject() -> None:
    assert cloud_event(event(flow_id="flow-1"), source="https://flows.example.com") == {
        "specversion": "1.0", "id": "delivery-1", "source": "https://flows.example.com",
        "type": "dev.flowrunner.execution.failed.v1", "subject": "exec-1", "time": rfc3339(NOON),
        "datacontenttype": "application/json", "data": {"flow_id": "flow-1"},
    }  # fmt: skip
