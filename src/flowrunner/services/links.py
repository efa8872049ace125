"""Addresses of the pages of the interface that take a token."""


def link_to(public_url: str | None, page: str, token: str) -> str:
    """Return the link to a page of the interface, with a token in the fragment, which browsers send to no server.

    Args:
        public_url: The origin that browsers use; None makes the link a path.
    """
    return f"{public_url or ''}{page}#{token}"
