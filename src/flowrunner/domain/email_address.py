"""The normal form of e-mail addresses."""

import re
import unicodedata
from typing import Final

# One message for every reason, a taken address included, so that it reveals nothing about other accounts.
NOT_AN_ADDRESS: Final = (
    "must be an e-mail address such as name@example.com, with letters of one script, that no other account has"
)

# One "@" and no spaces; a domain without a dot is allowed. This rejects only texts that cannot be addresses.
_EMAIL: Final = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")
# Scripts that are used together in one language count as one. Source: Unicode Technical Standard 39, section 5.1.
_TOGETHER: Final = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "BOPOMOFO"}),
)
_LETTERS: Final = frozenset({"Lu", "Ll", "Lt", "Lo"})


def normal_email(text: str) -> str:
    """Return the form in which an address is stored and compared: NFKC, in lower case.

    Raises:
        ValueError: If it is not an address, has characters that cannot be seen, or mixes scripts, so that it could
            look like another.
    """
    folded = unicodedata.normalize("NFKC", text).strip().lower()
    # Normalised again, as lower case may be decomposed: that of "İ" is two characters.
    email = unicodedata.normalize("NFKC", folded)
    if not _EMAIL.fullmatch(email) or not _is_plain(email):
        raise ValueError(NOT_AN_ADDRESS)
    return email


def sought_email(text: str) -> str:
    """Return the form in which an account with this address is looked for; no account has what is no address."""
    try:
        return normal_email(text)
    except ValueError:
        return text.casefold()


def is_address(text: str, email: str) -> bool:
    """Return whether a text is this stored address, which may be older than today's rules."""
    try:
        return text == email or normal_email(text) == email
    except ValueError:
        return False


def _is_plain(text: str) -> bool:
    """Return whether all characters can be seen, and all letters are of one script."""
    # Most addresses are ASCII, whose letters are all Latin.
    if text.isascii():
        return text.isprintable()
    return not _has_invisible(text) and _is_of_one_script(text)


def _has_invisible(text: str) -> bool:
    """Return whether a character is a control or format character, or unassigned."""
    return any(unicodedata.category(character).startswith("C") for character in text)


def _is_of_one_script(text: str) -> bool:
    scripts = {_script_of(character) for character in text if unicodedata.category(character) in _LETTERS}
    return len(scripts) < 2 or any(scripts <= together for together in _TOGETHER)


def _script_of(letter: str) -> str:
    # The standard library has no table of scripts, but the name of a letter begins with its script's.
    return unicodedata.name(letter, "").split(" ", 1)[0]
