"""Texts regardless of case, as every search of the server compares them."""


def folded(text: str) -> str:
    """Return a text with each character in lower case if that is a single character."""
    return "".join(map(folded_letter, text))


def folded_letter(letter: str) -> str:
    """Return a character in lower case if that is a single character, otherwise the character itself."""
    return next((form for form in (letter.casefold(), letter.lower()) if len(form) == 1), letter)
