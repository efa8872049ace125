"""The groups of operations that a client has, each loaded when it is first used."""

from functools import cached_property
from typing import TYPE_CHECKING, Generic, cast

from flowrunner.client.calls import Performer
from flowrunner.client.operations import K

if TYPE_CHECKING:
    from flowrunner.client.accounts import Accounts, Secrets, Sessions, Tokens
    from flowrunner.client.config import Configuration
    from flowrunner.client.executions import Executions, Jobs
    from flowrunner.client.flows import Flows
    from flowrunner.client.installation import Installation
    from flowrunner.client.second_factors import Identities, SecondFactors
    from flowrunner.client.store import Store
    from flowrunner.client.triggers import Callbacks, Triggers
    from flowrunner.client.workspaces import Workspaces


class Groups(Generic[K]):
    """Operations of the API by what they are about."""

    @cached_property
    def flows(self) -> "Flows[K]":
        from flowrunner.client.flows import Flows

        return Flows(self._performer)

    @cached_property
    def executions(self) -> "Executions[K]":
        from flowrunner.client.executions import Executions

        return Executions(self._performer)

    @cached_property
    def jobs(self) -> "Jobs[K]":
        from flowrunner.client.executions import Jobs

        return Jobs(self._performer)

    @cached_property
    def triggers(self) -> "Triggers[K]":
        from flowrunner.client.triggers import Triggers

        return Triggers(self._performer)

    @cached_property
    def callbacks(self) -> "Callbacks[K]":
        from flowrunner.client.triggers import Callbacks

        return Callbacks(self._performer)

    @cached_property
    def secrets(self) -> "Secrets[K]":
        from flowrunner.client.accounts import Secrets

        return Secrets(self._performer)

    @cached_property
    def config(self) -> "Configuration[K]":
        from flowrunner.client.config import Configuration

        return Configuration(self._performer)

    @cached_property
    def store(self) -> "Store[K]":
        from flowrunner.client.store import Store

        return Store(self._performer)

    @cached_property
    def accounts(self) -> "Accounts[K]":
        from flowrunner.client.accounts import Accounts

        return Accounts(self._performer)

    @cached_property
    def sessions(self) -> "Sessions[K]":
        from flowrunner.client.accounts import Sessions

        return Sessions(self._performer)

    @cached_property
    def second_factors(self) -> "SecondFactors[K]":
        from flowrunner.client.second_factors import SecondFactors

        return SecondFactors(self._performer)

    @cached_property
    def identities(self) -> "Identities[K]":
        from flowrunner.client.second_factors import Identities

        return Identities(self._performer)

    @cached_property
    def tokens(self) -> "Tokens[K]":
        from flowrunner.client.accounts import Tokens

        return Tokens(self._performer)

    @cached_property
    def workspaces(self) -> "Workspaces[K]":
        from flowrunner.client.workspaces import Workspaces

        return Workspaces(self._performer)

    @cached_property
    def installation(self) -> "Installation[K]":
        from flowrunner.client.installation import Installation

        return Installation(self._performer)

    @property
    def _performer(self) -> Performer:
        return cast("Performer", self)
