"""Node type `email.send`: send an e-mail through an SMTP server."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from flowrunner.domain.errors import quoted
from flowrunner.nodes.checks import check_server_name, checked, is_known
from flowrunner.nodes.email_addresses import EmailAddress, email_address_of
from flowrunner.nodes.files import File
from flowrunner.plugin import JSON, LONG_BODY_BYTES, MailServer, NodeFailure, NodeType, Params, StepContext

if TYPE_CHECKING:
    from email.message import EmailMessage

# RFC 5321, 4.5.3.1.8: every server takes that many in one session.
MOST_RECIPIENTS: Final = 100
MOST_ATTACHMENTS: Final = 100
# RFC 5322, 2.1.1: characters of a line.
_MOST_CHARACTERS: Final = 998
_MOST_ADDRESS_CHARACTERS: Final = 1000
_PORTS: Final = {"tls": 465, "starttls": 587, "none": 25}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Address: TypeAlias = Annotated[str, Field(max_length=_MOST_ADDRESS_CHARACTERS), checked(email_address_of)]
# One text is one address, so that text from outside cannot add recipients.
Addresses: TypeAlias = Annotated[
    list[Address],
    Field(max_length=MOST_RECIPIENTS),
    BeforeValidator(_listed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": _MOST_ADDRESS_CHARACTERS},
                {
                    "type": "array",
                    "items": {"type": "string", "maxLength": _MOST_ADDRESS_CHARACTERS},
                    "maxItems": MOST_RECIPIENTS,
                },
            ]
        }
    ),
]


def _check_line(text: str) -> None:
    # Python's headers take U+0085, U+2028 and U+2029 for line breaks, too.
    if any(ord(character) < 32 or character in "\x7f\x85\u2028\u2029" for character in text):
        raise ValueError("must be one line without control characters")


class Attachment(File):
    filename: Annotated[str, checked(_check_line)] = Field(
        min_length=1, max_length=255, description="The name that is shown to recipients."
    )

    @field_validator("content_type")
    @classmethod
    def _kind(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and is_known(value, info):
            _kind_of(value)
        return value


class EmailSendParams(Params):
    host: Annotated[str, checked(partial(check_server_name, example="smtp.example.com"))] = Field(
        min_length=1, max_length=253, description="The SMTP server.", examples=["smtp.example.com"]
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="587 if absent, 465 with tls, 25 with none.")
    security: Literal["starttls", "tls", "none"] | None = Field(
        default=None, description="starttls if absent, or tls at port 465."
    )
    username: str | None = Field(default=None, max_length=1000)
    password: str | None = Field(default=None, max_length=10_000)
    sender: Address = Field(alias="from", description="An address, or a name with one: Ada <ada@example.com>.")
    to: Addresses = Field(default=[], description="An address, or a list of addresses.")
    cc: Addresses = Field(default=[])
    bcc: Addresses = Field(default=[], description="Recipients that the others do not see.")
    reply_to: Addresses = Field(default=[])
    subject: Annotated[str, checked(_check_line)] = Field(default="", max_length=_MOST_CHARACTERS)
    body: str | None = Field(default=None, description="The text.")
    html: str | None = Field(default=None, description="The same as HTML, beside `body` or instead of it.")
    attachments: list[Attachment] = Field(default=[], max_length=MOST_ATTACHMENTS)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if not self.recipients:
            raise ValueError("give at least one recipient: 'to', 'cc' or 'bcc'")
        if len(self.recipients) > MOST_RECIPIENTS:
            raise ValueError(f"must have at most {MOST_RECIPIENTS} recipients in all: send several e-mails")
        if self.body is None and self.html is None:
            raise ValueError("give 'body', 'html' or both")
        if (self.username is None) != (self.password is None):
            raise ValueError("give 'username' and 'password', or neither")
        if self.username is not None and self.security == "none":
            raise ValueError("a password is sent over an encrypted connection only: use 'starttls' or 'tls'")
        if self.port == _PORTS["tls"] and self.security in ("starttls", "none"):
            # Both sides would wait for the other one until the timeout (RFC 8314, 7.3).
            raise ValueError("servers expect TLS from the start at port 465: use 'tls', or another port")
        return self

    @property
    def recipients(self) -> Sequence[str]:
        return [*self.to, *self.cc, *self.bcc]

    def server(self) -> MailServer:
        security = self.security or ("tls" if self.port == _PORTS["tls"] else "starttls")
        return MailServer(
            host=self.host,
            port=self.port or _PORTS[security],
            security=security,
            username=self.username,
            password=self.password,
        )


class EmailSend(NodeType[EmailSendParams]):
    """Sends an e-mail through an SMTP server."""

    type = "email.send"
    examples = (
        "type: email.send\nparams:\n  host: smtp.example.com\n  username: flows@example.com\n"
        "  password: ${secrets.SMTP_PASSWORD}\n  from: Flows <flows@example.com>\n  to: ada@example.com\n"
        "  subject: Order ${input.id} is paid\n  body: The total is ${input.total}.\n",
        "type: email.send\nparams:\n  host: smtp.example.com\n  username: flows@example.com\n"
        "  password: ${secrets.SMTP_PASSWORD}\n  from: flows@example.com\n  to: [ada@example.com, omar@example.com]\n"
        "  subject: The invoice\n  body: See the attachment.\n"
        "  attachments: [{filename: invoice.pdf, content_type: application/pdf, base64: '${input.body}'}]\n",
    )
    Params = EmailSendParams
    keeps_params = True
    errors: ClassVar[tuple[str, ...]] = ("email", "connection", "timeout", "egress")
    timeout_seconds = 60.0
    result_keys = ("message_id", "accepted", "refused")

    async def run(self, params: EmailSendParams, context: StepContext) -> JSON:
        sender = email_address_of(params.sender)
        # A server, or a mailbox, can tell a repeat after a crash or by a retry from a second e-mail.
        digest = hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:40]
        message_id = f"<{digest}@{sender.domain}>"
        recipients = list(dict.fromkeys(email_address_of(text).address for text in params.recipients))
        write = partial(_message, params, sender, message_id, context.now())
        refused = await context.mail.send(params.server(), sender=sender.address, recipients=recipients, write=write)
        not_sent = {recipient.address for recipient in refused}
        accepted: list[JSON] = [address for address in recipients if address not in not_sent]
        facts: dict[str, JSON] = {"message_id": message_id, "accepted": len(accepted), "refused": len(refused)}
        if refused:
            context.log("warn", "The e-mail was sent, but the server refused some of its recipients", facts)
        else:
            context.log("info", "E-mail sent", facts)
        return {
            "message_id": message_id,
            "accepted": accepted,
            "refused": [{"address": one.address, "code": one.code, "reply": one.reply} for one in refused],
        }


def _message(params: EmailSendParams, sender: EmailAddress, message_id: str, now: datetime) -> "EmailMessage":
    """Return the message. Raises: NodeFailure `input.invalid`."""
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import format_datetime

    # Every server takes it, also one that does not offer 8BITMIME.
    message = EmailMessage(SMTP.clone(cte_type="7bit"))
    try:
        message["From"] = sender.header()
        for name, texts in (("To", params.to), ("Cc", params.cc), ("Reply-To", params.reply_to)):
            if texts:
                message[name] = [email_address_of(text).header() for text in texts]
        message["Subject"] = params.subject
        message["Date"] = format_datetime(now)
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"
        if params.body is not None:
            _add_text(message.set_content, params.body, "plain")
        if params.html is not None:
            _add_text(message.set_content if params.body is None else message.add_alternative, params.html, "html")
        for number, attachment in enumerate(params.attachments):
            _add_attachment(message, attachment, f"attachments.{number}.base64")
    except ValueError as error:
        raise NodeFailure("input.invalid", f"The e-mail cannot be written: {error}") from None
    return message


def _add_text(add: Callable[..., None], text: str, subtype: str) -> None:
    if len(text) <= LONG_BODY_BYTES and "\x00" not in text:
        add(text, subtype=subtype)
        return
    # As bytes: a long text would be split into its lines, of which it may have millions, and a NUL would go as it is,
    # which RFC 5321, 4.5.2, forbids.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    add(lines.encode(), maintype="text", subtype=subtype, cte="base64", params={"charset": "utf-8"})


def _add_attachment(message: "EmailMessage", attachment: Attachment, key: str) -> None:
    content, kind = attachment.read(key, error="input.invalid")
    maintype, subtype, params = _kind_of(attachment.content_type or kind)
    if attachment.base64 is None and maintype == "text":
        # Readers take a text without a charset for ASCII, or guess.
        params = {"charset": "utf-8", **params}
    message.add_attachment(content, maintype=maintype, subtype=subtype, params=params, filename=attachment.filename)


def _kind_of(content_type: str) -> tuple[str, str, Mapping[str, str]]:
    """Return the two parts of a content type, and its parameters. Raises: ValueError."""
    from email.message import EmailMessage

    holder = EmailMessage()
    holder["Content-Type"] = content_type
    header: Any = holder["Content-Type"]
    if header.defects or "/" not in content_type:
        raise ValueError(f"{quoted(content_type)} is not a content type, such as application/pdf")
    if header.maintype in ("multipart", "message"):
        raise ValueError(f"a file of type {header.maintype}/{header.subtype} is sent as application/octet-stream")
    return header.maintype, header.subtype, header.params
