"""The address of a callback as it is shown: without what could be a credential, and refused if nothing can be sent."""

import pytest

from flowrunner.domain.callbacks import Format
from flowrunner.domain.errors import InvalidInput
from flowrunner.services.callback_secrets import shown_address


@pytest.mark.parametrize(
    ("url", "format", "shown"),
    [
        ("https://example.com", "standard", "https://example.com"),
        ("https://example.com:8443/a/b", "standard", "https://example.com:8443/a/b"),
        ("http://example.com/a?token=s3cret", "standard", "http://example.com/a?…"),
        ("https://[2001:db8::1]:99/a?", "standard", "https://[2001:db8::1]:99/a"),
        ("https://hooks.slack.com/services/s3cret?a=b", "slack", "https://hooks.slack.com/…"),
        ("https://example.com:99/s3cret", "teams", "https://example.com:99/…"),
        ("mailto:ops@example.com,a%2Bb@example.com", "email", "mailto:ops@example.com,a%2Bb@example.com"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, format: Format, shown: str) -> None:
    assert shown_address(url, format) == shown


@pytest.mark.parametrize(
    ("url", "format", "message"),
    [
        ("ftp://example.com", "standard", "must begin with https:// or http:// and contain a host"),
        ("https:///path", "standard", "must begin with https:// or http:// and contain a host"),
        ("https://", "slack", "must begin with https:// or http:// and contain a host"),
        ("https://ann:s3cret@example.com", "standard", "must not contain a user and a password"),
        ("https://@example.com", "standard", "must not contain a user and a password"),
        ("https://example.com:99999/", "standard", "is not a URL"),
        ("https://[::1/", "standard", "is not a URL"),
        ("https://exam ple.com/", "standard", "must not contain spaces or control characters"),
        ("https://example.com/\n", "standard", "must not contain spaces or control characters"),
        ("https://example.com/", "email", "must be an e-mail address: mailto:ops@example.com"),
        ("mailto:ops", "email", "must be e-mail addresses: mailto:ops@example.com"),
        ("mailto:ops@example.com,", "email", "must be e-mail addresses: mailto:ops@example.com"),
        ("mailto:" + ",".join(["a@example.com"] * 1000), "email", "addresses"),
    ],
)
def test_an_address_to_which_nothing_can_be_sent_is_refused_with_the_reason(
    url: str, format: Format, message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        shown_address(url, format)

    (fault,) = refusal.value.faults
    assert fault.path == "url"
    assert message in fault.message
