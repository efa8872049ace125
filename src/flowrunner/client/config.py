"""Operations on the configuration values of a workspace."""

from typing import Any

from flowrunner.client.calls import Call, Listing, call, listing
from flowrunner.client.models import ConfigValue, ListedConfigValue, Message
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import segment


class Configuration(Group[K]):
    """Configuration values, which flows read as `${config.NAME}`."""

    @list_operation("listConfig")
    def list(self) -> Listing[ListedConfigValue]:
        """List the values by name."""
        return listing("/config", ListedConfigValue)

    @operation("getConfigValue")
    def get(self, name: str) -> Call[ConfigValue]:
        """Return a value."""
        return call(ConfigValue, "GET", f"/config/{segment(name)}")

    @operation("putConfigValue")
    def set(
        self, name: str, value: Any, *, if_match: str | None = None, if_none_match: str | None = None
    ) -> Call[ConfigValue]:
        """Create a value, or replace one.

        Args:
            value: Any JSON except null.
            if_match: The `etag` of the value as it was read: if it has changed since, nothing is changed.
            if_none_match: `*` creates the value, or fails if there is one.
        """
        headers = {"If-Match": if_match, "If-None-Match": if_none_match}
        return call(ConfigValue, "PUT", f"/config/{segment(name)}", exact={"value": value}, headers=headers)

    @operation("deleteConfigValue")
    def delete(self, name: str, *, if_match: str | None = None) -> Call[Message]:
        """Delete a value. Args: if_match: As of `set`."""
        return call(Message, "DELETE", f"/config/{segment(name)}", headers={"If-Match": if_match})
