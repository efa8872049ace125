"""Texts in the charset of their content type."""

from flowrunner.domain.charsets import codec_of
from flowrunner.plugin import NodeFailure


def text_bytes(text: str, content_type: str, place: str, *, error: str = "http.invalid_request") -> bytes:
    """Return a text in the charset of its content type.

    Args:
        place: That of the content type, for the message.

    Raises:
        NodeFailure: The ``error`` if the charset is not known, or cannot have the text.
    """
    codec = codec_of(content_type)
    if codec is None:
        raise NodeFailure(error, f"The charset of '{place}' is not known. Give the bytes as 'base64'")
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        raise NodeFailure(error, f"The text has characters that the charset of '{place}' has not") from None
