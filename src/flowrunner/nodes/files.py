"""Bytes and files in the body of a request, which a flow holds as base64."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from flowrunner.nodes.charsets import text_bytes
from flowrunner.plugin import NodeFailure, Params

_BLANKS: Final = b" \t\r\n\v\f"


class File(Params):
    base64: str | None = Field(default=None, description="Content of the file, as base64.")
    text: str | None = Field(default=None, description="Content of the file, instead of `base64`.")
    filename: str | None = Field(default=None, max_length=1024, description="The field's name if absent.")
    content_type: str | None = Field(
        default=None, max_length=1024, description="application/octet-stream, or text/plain for `text`, if absent."
    )

    @field_validator("content_type")
    @classmethod
    def _content_type(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ValueError("must have printable ASCII characters only")
        return value

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.base64 is None) == (self.text is None):
            raise ValueError("give either 'base64' or 'text'")
        return self

    def read(self, key: str, *, error: str = "http.invalid_request") -> tuple[bytes, str]:
        """Return the content, and its type unless the flow names another. A text is in the charset of that one.

        Args:
            key: The place of the base64, for the message.

        Raises:
            NodeFailure: The ``error`` if the content is not base64, or a text that its charset cannot have.
        """
        if self.base64 is not None:
            return decoded(self.base64, key, error=error), "application/octet-stream"
        place = f"{key.removesuffix('base64')}content_type"
        content = text_bytes(self.text or "", self.content_type or "", place, error=error)
        return content, "text/plain; charset=utf-8"


def decoded(text: str, name: str, *, error: str = "http.invalid_request") -> bytes:
    """Return the bytes of a base64 text, which may have line breaks, as that of e-mails has.

    Raises:
        NodeFailure: The ``error`` if it is not base64.
    """
    try:
        # Not by `split`: of a text with a blank after each letter, it makes millions of texts.
        return base64.b64decode(text.encode("ascii").translate(None, _BLANKS), validate=True)
    except ValueError:
        hint = "A body read with 'response: base64' is, and so is the result of btoa()"
        raise NodeFailure(error, f"The value of '{name}' is not base64. {hint}") from None


def multipart(fields: Iterable[tuple[str, str]], files: Mapping[str, File]) -> tuple[bytes, str]:
    """Return a body and its content type.

    Source: RFC 7578; HTML, 4.10.21.8 "Multipart form data", for the names of fields and files.

    Raises:
        NodeFailure: `http.invalid_request` if the content of a file is not base64.
    """
    parts = [(f'Content-Disposition: form-data; name="{_quoted(name)}"', value.encode()) for name, value in fields]
    for name, file in files.items():
        content, kind = file.read(f"files.{name}.base64")
        filename = name if file.filename is None else file.filename
        head = f'Content-Disposition: form-data; name="{_quoted(name)}"; filename="{_quoted(filename)}"'
        parts.append((f"{head}\r\nContent-Type: {file.content_type or kind}", content))
    # A digest of the parts is in none of them, and a repeated attempt sends the same bytes.
    digest = hashlib.sha256()
    for head, content in parts:
        digest.update(head.encode())
        digest.update(content)
    boundary = digest.hexdigest()
    body = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts)
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
