"""Operations on the store of a workspace."""

from typing import Any

from flowrunner.client.calls import Call, Listing, call, listing
from flowrunner.client.models import Entry, ListedEntry, Message
from flowrunner.client.operations import Group, K, list_operation, operation

_DEFAULT = "default"


class Store(Group[K]):
    """Values that flows keep between executions, by namespace and key."""

    @list_operation("listStoreEntries")
    def list(self, *, namespace: str | None = None, prefix: str | None = None) -> Listing[ListedEntry]:
        """List the entries by namespace and key, without their values.

        Args:
            namespace: Only of this one; of all if None.
            prefix: Only keys that begin with this.
        """
        return listing("/store", ListedEntry, namespace=namespace, prefix=prefix)

    @operation("getStoreEntry")
    def get(self, key: str, *, namespace: str = _DEFAULT) -> Call[Entry]:
        """Return an entry."""
        return call(Entry, "GET", "/store/entry", query=_at(key, namespace))

    @operation("putStoreEntry")
    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: str | None = None,
        namespace: str = _DEFAULT,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Call[Entry]:
        """Create an entry, or replace one.

        Args:
            value: Any JSON of at most 64 KiB.
            ttl: How long it is kept, such as `10m` or `1d`; indefinitely if None.
            if_match: The `etag` of the entry as it was read: if it has changed since, nothing is changed.
            if_none_match: `*` creates the entry, or fails if there is one.
        """
        body, exact = {"ttl": ttl}, {"value": value}
        headers = {"If-Match": if_match, "If-None-Match": if_none_match}
        return call(Entry, "PUT", "/store/entry", query=_at(key, namespace), body=body, exact=exact, headers=headers)

    @operation("deleteStoreEntry")
    def delete(self, key: str, *, namespace: str = _DEFAULT, if_match: str | None = None) -> Call[Message]:
        """Delete an entry. Args: if_match: As of `set`."""
        headers = {"If-Match": if_match}
        return call(Message, "DELETE", "/store/entry", query=_at(key, namespace), headers=headers)


def _at(key: str, namespace: str) -> dict[str, str]:
    return {"key": key, "namespace": namespace}
