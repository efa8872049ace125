"""Numbers with their nouns, for messages."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return the number with the noun in its form: `1 flow`, `2 flows`, `0 entries`.

    Args:
        many: The noun for any number but 1; None appends an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"
