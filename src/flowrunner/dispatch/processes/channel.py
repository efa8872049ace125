"""Calls between two processes of one server, over a pair of sockets that only they have.

The messages are MessagePack. Arguments are validated by the annotations of the function before it is called: nothing
that arrives becomes code, even if the other process was taken over.
"""

import asyncio
import inspect
import struct
from collections.abc import Callable, Mapping
from traceback import format_exception
from typing import Any, Final, TypeAlias, cast, get_type_hints

import msgspec
import structlog

from flowrunner.dispatch.processes.sent_errors import SentError, error_of, sent
from flowrunner.domain.errors import Unavailable
from flowrunner.tasks import begin

logger = structlog.get_logger()

# The longest value in a message is an event or an input, of about a megabyte.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
# Messages of one iteration of the event loop are sent together, up to this many bytes.
_FULL_FRAME_BYTES: Final = 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
LOST: Final = "The process that advanced the execution has ended"

# Functions by name. A result may be awaitable.
Handlers: TypeAlias = Mapping[str, Callable[..., Any]]

# The kinds of messages.
_CALL, _TELL, _RESULT, _ERROR, _CANCEL = range(5)
# Kind, number of the call, name of the function, arguments or result.
_Message: TypeAlias = tuple[int, int, str, msgspec.Raw]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_frame: Final = msgspec.msgpack.Decoder(list[_Message]).decode
_decode_error: Final = msgspec.msgpack.Decoder(SentError).decode
_NOTHING: Final = msgspec.Raw(_encode(()))


class Channel(asyncio.Protocol):
    """One end of the pair of sockets.

    Attributes:
        lost: Done when the socket is closed; calls without a result have failed by then.
    """

    def __init__(self) -> None:
        # Functions that the other side may call, with the decoders of their arguments.
        self._handlers: dict[str, tuple[Callable[..., Any], msgspec.msgpack.Decoder[Any]]] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._to_send: list[_Message] = []
        # Awaited results, with the types that they must have.
        self._calls: dict[int, tuple[asyncio.Future[Any], Any]] = {}
        self._last = 0
        # Calls of the other side that run here, by their numbers.
        self._running: dict[int, asyncio.Future[Any]] = {}
        self._is_lost = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def serve(self, handlers: Handlers) -> None:
        """Let the other side call these functions, too."""
        self._handlers |= {name: (function, _decoder_of(function)) for name, function in handlers.items()}

    # The caller's side

    def call(self, name: str, *arguments: Any, returns: Any = None) -> "asyncio.Future[Any]":
        """Call a function of the other side; cancelling the future cancels the call there.

        The future fails with the error of the function, and with Unavailable if the other process ends before.

        Args:
            returns: The type of the result.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._is_lost:
            future.set_exception(Unavailable(LOST))
            return future
        try:
            body = _raw(arguments)
        except Exception as error:
            future.set_exception(error)
            return future
        self._last = number = self._last + 1
        self._calls[number] = future, returns
        future.add_done_callback(lambda done: self._forget(number, done))
        self._send((_CALL, number, name, body))
        return future

    def notify(self, name: str, *arguments: Any) -> None:
        """Call a function of the other side without a result. Messages arrive in the order in which they are sent."""
        if not self._is_lost:
            self._send((_TELL, 0, name, _raw(arguments)))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _forget(self, number: int, done: "asyncio.Future[Any]") -> None:
        if self._calls.pop(number, None) is not None and done.cancelled() and not self._is_lost:
            self._send((_CANCEL, number, "", _NOTHING))

    # Sending

    def _send(self, message: _Message) -> None:
        if not self._to_send:
            self._loop.call_soon(self._flush)
        self._to_send.append(message)

    def _flush(self) -> None:
        messages, self._to_send = self._to_send, []
        if self._transport is None or self._is_lost:
            return
        size = first = 0
        for index, message in enumerate(messages):
            size += len(message[3])
            if size > _FULL_FRAME_BYTES:
                self._write(messages[first : index + 1])
                first, size = index + 1, 0
        if first < len(messages):
            self._write(messages[first:])

    def _write(self, messages: list[_Message]) -> None:
        assert self._transport is not None, "checked by the caller"
        data = _encode(messages)
        self._transport.write(_LENGTH.pack(len(data)) + data)

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        try:
            while len(received) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(received, start)
                if length > MAX_FRAME_BYTES + _FULL_FRAME_BYTES:
                    raise ValueError(f"A message has {length} bytes")
                end = start + _LENGTH.size + length
                if len(received) < end:
                    break
                frame = bytes(memoryview(received)[start + _LENGTH.size : end])
                start = end
                for message in _decode_frame(frame):
                    self._take(*message)
        except ValueError as error:
            logger.error("process.unreadable", reason=str(error))
            self.abort()
            return
        del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        calls, self._calls = self._calls, {}
        for future, _ in calls.values():
            if not future.done():
                future.set_exception(Unavailable(LOST))
                # Mark the exception as retrieved: the caller may have gone.
                future.exception()
        # Calls of the other side continue here: an append may be durable, and must then be published.
        if not self.lost.done():
            self.lost.set_result(None)

    def _take(self, kind: int, number: int, name: str, body: msgspec.Raw) -> None:
        if kind == _CALL:
            self._serve(number, name, body)
        elif kind == _TELL:
            self._do(name, body)
        elif kind == _CANCEL:
            if (running := self._running.get(number)) is not None:
                running.cancel()
        elif (call := self._calls.get(number)) is not None and not call[0].done():
            future, returns = call
            if kind == _ERROR:
                future.set_exception(error_of(_decode_error(body)))
            else:
                future.set_result(msgspec.msgpack.decode(body, type=returns))

    def _do(self, name: str, body: msgspec.Raw) -> None:
        try:
            function, decoder = self._handlers[name]
            function(*decoder.decode(body))
        except Exception:
            logger.exception("process.message_failed", name=name)

    def _serve(self, number: int, name: str, body: msgspec.Raw) -> None:
        try:
            function, decoder = self._handlers[name]
            result = function(*decoder.decode(body))
        except Exception as error:
            self._fail(number, error)
            return
        if asyncio.iscoroutine(result):
            result = begin(result, name=f"call {name}")
        if not isinstance(result, asyncio.Future):
            self._answer(number, result)
            return
        self._running[number] = result
        # Not at once even if it is done: replies keep the order of their results.
        result.add_done_callback(lambda done: self._reply(number, done))

    def _reply(self, number: int, done: "asyncio.Future[Any]") -> None:
        self._running.pop(number, None)
        if done.cancelled():
            # A future that is not a task is an answer that will never come; its caller notices that by other means.
            if isinstance(done, asyncio.Task):
                self._fail(number, Unavailable(LOST))
        elif (error := done.exception()) is not None:
            self._fail(number, error)
        else:
            self._answer(number, done.result())

    def _answer(self, number: int, result: object) -> None:
        if self._is_lost:
            return
        try:
            body = _raw(result)
        except Exception as error:
            self._fail(number, error)
            return
        self._send((_RESULT, number, "", body))

    def _fail(self, number: int, error: BaseException) -> None:
        if not self._is_lost:
            self._send((_ERROR, number, "", msgspec.Raw(_encode(sent(error, "".join(format_exception(error)))))))


def _raw(value: object) -> msgspec.Raw:
    """Encode a value. Raises: Exceptions of msgspec; ValueError if it is too long."""
    encoded = _encode(value)
    if len(encoded) > MAX_FRAME_BYTES:
        raise ValueError(f"A message between processes has {len(encoded)} bytes")
    return msgspec.Raw(encoded)


def _decoder_of(function: Callable[..., Any]) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of a function's arguments, from its annotations."""
    hints = get_type_hints(function)
    types = [
        hints.get(parameter.name, Any)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    return msgspec.msgpack.Decoder(tuple[tuple(types)] if types else tuple[()])  # type: ignore[misc] # made of annotations
