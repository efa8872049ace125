"""Settings that hold secrets: nothing that is printed of them, or of a mistake in them, has a part of one."""

import string
from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import product
from typing import Final

import pytest

from flowrunner.settings import (
    MASK,
    PREFIX,
    InvalidSettings,
    Settings,
    describe,
    load_settings,
    without_credentials,
)

# Parts of a password; a character between them may end it where the text is parsed.
LEFT, RIGHT = "quietheron", "redbadger"
PASSWORDS: Final = [f"{LEFT}{between}{RIGHT}" for between in ("", *string.punctuation, " ", "\t", "\n", "ü", "\x00")]
HOSTS: Final = ("db.example.com", "db.example.com:5432", "[2001:db8::1]:5432", "")
# By the name of a setting with a secret: the texts that somebody may give for one with this password.
TEXTS: Final[Mapping[str, Callable[[str], list[str]]]] = {
    "database_url": lambda password: [
        f"{scheme}://{place}"
        for scheme in ("postgresql", "mysql")
        for host in HOSTS
        for place in (f"user:{password}@{host}/name", f"{password}@{host}/name", f":{password}@{host}/name?sslmode=x")
    ],
    "smtp_url": lambda password: [
        f"{scheme}://{place}"
        for scheme in ("smtps", "ftp")
        for host in HOSTS
        for place in (
            f"user:{password}@{host}",
            f"{password}@{host}/?from=a@example.com",
            f"u:{password}@{host}?from=x",
        )
    ],
    "sign_on": lambda password: [
        f'[p]\nissuer = "https://id.example.com"\nclient_id = "c"\nclient_secret = "{password}"',
        f'[p]\nissuer = "http://{password}"\nclient_id = 1\nclient_secret = "{password}"',
        f"client_secret = {password}",
        f'{{"p": {{"client_secret": "{password}"}}}}',
    ],
    "admin_password": lambda password: [password],
    "temporal_api_key": lambda password: [password],
    "metrics_token": lambda password: [password, password[:15]],
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_part_of_a_secret_is_in_what_is_printed(name: str) -> None:
    accepted, told = 0, []
    for password in PASSWORDS:
        for text in TEXTS[name](password):
            given = {f"{PREFIX}{name.upper()}": text, f"{PREFIX}PUBLIC_URL": "https://flows.example.com"}
            if name == "admin_password":
                given[f"{PREFIX}ADMIN_EMAIL"] = "admin@example.com"
            try:
                settings = load_settings({}, given)
            except InvalidSettings as error:
                printed = str(error)
            else:
                accepted += 1
                printed = f"{describe(settings)} {settings}"
                assert (name, MASK) in [row[:2] for row in describe(settings)]
                if name == "database_url":
                    printed += without_credentials(text)
            if LEFT in printed or RIGHT in printed:
                told.append((text, printed))

    assert told == []
    assert accepted


def test_a_secret_that_is_not_set_is_shown_as_that() -> None:
    shown = {name: text for name, text, _ in describe(Settings())}

    assert {name: shown[name] for name in TEXTS} == dict.fromkeys(TEXTS, "")


def test_every_setting_with_a_secret_is_among_them() -> None:
    secret = {known.name for known in fields(Settings) if known.metadata["secret"]}

    assert secret == TEXTS.keys()


@pytest.mark.parametrize(("host", "path"), [*product(HOSTS[:3], ("/name", ""))])
@pytest.mark.parametrize("login", ["", "user@", "user:password@", "user:p@ssword@"])
def test_host_and_name_of_a_database_are_shown(login: str, host: str, path: str) -> None:
    assert without_credentials(f"postgresql://{login}{host}{path}") == f"{host}{path}"
