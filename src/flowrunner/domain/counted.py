"""Numbers with their nouns, for messages."""


def counted(number: float, one: str, many: str | None = None) -> str:
    """Return the number with the noun in its form: `1 flow`, `2 flows`, `1.5 seconds`, `0 entries`.

    Args:
        many: The noun for any number but 1; None appends an s.
    """
    written = f"{number:.3f}".rstrip("0").rstrip(".") if isinstance(number, float) else str(number)
    return f"{written} {one if written == '1' else many or f'{one}s'}"
