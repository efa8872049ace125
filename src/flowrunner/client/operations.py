"""Operations of the API as methods of both clients, in groups by what they are about."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from flowrunner.client.async_entries import AsyncEntries
from flowrunner.client.calls import Call, Listing, Performer
from flowrunner.client.model import Model
from flowrunner.client.sync_entries import SyncEntries

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Model)
K = TypeVar("K", bound="Sync | Async")


class Sync:
    """The kind of groups whose methods return their answers."""


class Async:
    """The kind of groups whose methods return awaitables."""


class Group(Generic[K]):
    """Operations on one kind of objects."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer


class Operation(Generic[P, T]):
    """A method that makes a call, which the client of its group performs."""

    def __init__(self, id: str, make: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self.id = id
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, group: Group[Sync], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: Group[Async], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        if group is None:
            return self

        @wraps(self.make)
        def perform(*arguments: P.args, **options: P.kwargs) -> Any:
            return group._performer.perform(self.make(group, *arguments, **options))

        return perform


class ListOperation(Generic[P, M]):
    """A method that describes a list, which the client of its group reads."""

    def __init__(self, id: str, make: Callable[Concatenate[Any, P], Listing[M]]) -> None:
        self.id = id
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, group: Group[Sync], owner: type) -> Callable[P, SyncEntries[M]]: ...
    @overload
    def __get__(self, group: Group[Async], owner: type) -> Callable[P, AsyncEntries[M]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        if group is None:
            return self

        @wraps(self.make)
        def entries(*arguments: P.args, **options: P.kwargs) -> Any:
            kind = AsyncEntries if group._performer.is_async else SyncEntries
            return kind(group._performer, self.make(group, *arguments, **options))

        return entries


def operation(id: str) -> Callable[[Callable[Concatenate[Any, P], Call[T]]], Operation[P, T]]:
    """Make a method of a group from a function that returns the call of the operation with this id in OpenAPI."""
    return lambda make: Operation(id, make)


def list_operation(id: str) -> Callable[[Callable[Concatenate[Any, P], Listing[M]]], ListOperation[P, M]]:
    """Make a method of a group from a function that returns the list of the operation with this id in OpenAPI."""
    return lambda make: ListOperation(id, make)
