"""Session with a mailbox of an IMAP server."""

import base64
import binascii
import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal, TypeAlias

from flowrunner.bounded_socket import InvalidAnswer
from flowrunner.domain.cut_texts import without_last_word
from flowrunner.imap.messages import message_of
from flowrunner.imap.texts import base64_bytes, decoded, has_more_base64, readable
from flowrunner.imap.values import Value, folder_name, quoted, values_of
from flowrunner.imap.wire import ImapWire
from flowrunner.plugin import ImapMessage, ImapPart, ImapSearch, ImapServer

Stage: TypeAlias = Literal["tls", "login", "folder", "search", "message", "mark", "move"]

# Of one response: that of a search, which has a UID of each message found, that which describes a message, and others.
MOST_SEARCH_BYTES: Final = 4 * 1024 * 1024
MOST_MESSAGE_BYTES: Final = 128 * 1024
_MOST_OTHER_BYTES: Final = 64 * 1024
# Of all responses about messages in a session, without their literals: a megabyte takes a third of a second.
_MOST_FETCHED_BYTES: Final = 16 * 1024 * 1024
# Messages that are described at the same time.
_AT_ONCE: Final = 10
_MOST_REPLY_CHARACTERS: Final = 1000
# Codes of what may pass: parts of the server do not answer, another client has locked the folder, or a limit is reached
# (RFC 5530, 3).
PASSING: Final = frozenset({"UNAVAILABLE", "INUSE", "LIMIT"})
# Of what would be refused for each message: rights, the login, and commands that are not understood.
_OF_EACH: Final = PASSING | {
    *("BAD", "CLIENTBUG", "NOPERM", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED"),
    # Gmail's of too many commands or bytes, and Dovecot's of a storage that fails.
    *("CONTACTADMIN", "OVERQUOTA", "SERVERBUG"),
}
_LARGEST_UID: Final = 2**32 - 1
_NUMBER: Final = re.compile(rb"\b\d{1,10}\b")
_FETCH: Final = re.compile(rb"\* \d{1,10} FETCH ", re.IGNORECASE)
_CODE: Final = re.compile(rb"\[([A-Z0-9-]{1,50})[ \]]")
_UID_VALIDITY: Final = re.compile(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What `quoted` can write.
_PLAIN: Final = re.compile(r"[\x20-\x7e]{0,1000}")


class CommandRefused(Exception):
    """Command that the server has rejected.

    Attributes:
        code: That of the reply (RFC 5530), or else `NO` or `BAD`.
        uids: Messages that it does not give, or some of them.
    """

    def __init__(self, stage: Stage, code: str, reply: str, uids: Sequence[int] = ()) -> None:
        super().__init__(reply)
        self.stage: Final = stage
        self.code = code
        self.reply = reply
        self.uids = uids


class Unsupported(Exception):
    """Something that the server does not offer. Args: what it does not, for the end of a sentence."""

    def __init__(self, stage: Stage, what: str) -> None:
        super().__init__(what)
        self.stage: Final = stage


class ConnectionEnded(Exception):
    """End of the connection that the server has announced, with its words."""


class TooManyFound(Exception):
    """Result of a search that is too long to be read."""


class MailboxSession:
    """Implements `plugin.ImapSession`.

    Args:
        encrypt: Encrypts the connection of the wire.

    Attributes:
        refusals: As those of `plugin.ImapSession`.

    Raises:
        OSError, InvalidAnswer, CommandRefused, Unsupported, ConnectionEnded, TooManyFound: As every method.
    """

    def __init__(self, wire: ImapWire, server: ImapServer, *, encrypt: Callable[[], None]) -> None:
        self._wire = wire
        self._server = server
        self._encrypt = encrypt
        self._count = 0
        self._bytes = _MOST_FETCHED_BYTES
        self.refusals: dict[int, str] = {}
        self._last_refusal: CommandRefused | None = None

    def begin(self) -> None:
        """Encrypt the connection and log in."""
        if self._server.security == "tls":
            self._encrypt()
        self._greet()
        if self._server.security == "starttls":
            if b"STARTTLS" not in self._capabilities("tls"):
                raise Unsupported("tls", "STARTTLS")
            self._do("tls", "STARTTLS")
            self._encrypt()
        self._login()

    def _greet(self) -> None:
        (text, *_) = self._wire.response(room=_MOST_OTHER_BYTES) or [b""]
        if text[:6].upper() == b"* BYE ":
            raise ConnectionEnded(shown(text[6:]))
        if text[:9].upper() == b"* PREAUTH":
            # It trusts this machine, and so every author of a flow by any user's name.
            raise Unsupported("login", "a login: it lets this machine in without one (PREAUTH)")
        if text[:4].upper() != b"* OK":
            raise InvalidAnswer

    def _capabilities(self, stage: Stage) -> frozenset[bytes]:
        found: set[bytes] = set()
        for parts in self._command(stage, "CAPABILITY"):
            if parts is not None and parts[0].upper().startswith(b"* CAPABILITY "):
                found.update(parts[0].upper().split()[2:])
        return frozenset(found)

    def _login(self) -> None:
        server, offered = self._server, self._capabilities("login")
        user = server.username
        if server.access_token is not None:
            token = server.access_token
            if b"AUTH=XOAUTH2" in offered:
                self._authenticate("XOAUTH2", f"user={user}\x01auth=Bearer {token}\x01\x01")
            elif b"AUTH=OAUTHBEARER" in offered:
                name = user.replace("=", "=3D").replace(",", "=2C")
                self._authenticate("OAUTHBEARER", f"n,a={name},\x01auth=Bearer {token}\x01\x01")
            else:
                raise Unsupported("login", "a login with a token (XOAUTH2, OAUTHBEARER)")
        elif b"AUTH=PLAIN" in offered:
            self._authenticate("PLAIN", f"\0{user}\0{server.password or ''}")
        elif b"LOGINDISABLED" in offered:
            raise Unsupported("login", "a login with a password")
        else:
            self._do("login", "LOGIN ", user, " ", server.password or "")

    def _authenticate(self, mechanism: str, secret: str) -> None:
        said = [
            base64.b64encode(secret.encode()),
            # It has told why it refuses the token, and waits before it does (RFC 7628, 3.2.3).
            b"AQ==" if mechanism == "OAUTHBEARER" else b"",
        ]
        for parts in self._command("login", f"AUTHENTICATE {mechanism}"):
            if parts is not None and parts[0].startswith(b"+"):
                if not said:
                    raise InvalidAnswer
                self._wire.send(said.pop(0) + b"\r\n")

    def open(self, folder: str, *, to_change: bool = False) -> int:
        validity = 0
        for parts in self._command("folder", "SELECT " if to_change else "EXAMINE ", folder_name(folder)):
            if parts is not None and (found := _UID_VALIDITY.match(parts[0])):
                validity = int(found[1])
        if not validity:
            raise Unsupported("folder", "UIDs that stay the same")
        if validity > _LARGEST_UID:
            raise InvalidAnswer
        return validity

    def search(self, search: ImapSearch, *, most: int, newest: bool = False) -> tuple[Sequence[int], bool]:
        if search.after_uid >= _LARGEST_UID:
            return (), False
        # A number in place of the star would be an error to some servers; with it they return the last message, too.
        criteria: list[str] = [f"UID {search.after_uid + 1}:*"]
        if search.unseen:
            criteria.append(" UNSEEN")
        if search.since is not None:
            criteria.append(f" SINCE {search.since.day}-{_MONTHS[search.since.month - 1]}-{search.since.year:04}")
        texts = [
            (name, text) for name, text in (("FROM", search.sender), ("SUBJECT", search.subject)) if text is not None
        ]
        charset = "" if all(text.isascii() for _, text in texts) else "CHARSET UTF-8 "
        pieces = [f"UID SEARCH {charset}{''.join(criteria)}"]
        for name, text in texts:
            pieces = [*pieces[:-1], f"{pieces[-1]} {name} ", text, ""]
        found: set[int] = set()
        chosen: Sequence[int] = ()
        choose = heapq.nlargest if newest else heapq.nsmallest
        for parts in self._command("search", *pieces, room=MOST_SEARCH_BYTES):
            if parts is None:
                raise TooManyFound
            if parts[0][:8].upper() == b"* SEARCH":
                numbers = (int(one[0]) for one in _NUMBER.finditer(parts[0], 8))
                # A server may tell of the messages in several responses, and of one of them twice.
                found.update(choose(2 * most + 2, (uid for uid in numbers if search.after_uid < uid <= _LARGEST_UID)))
                chosen = choose(most + 1, found)
                found = set(chosen)
        return sorted(chosen[:most]), len(chosen) > most

    def messages(self, uids: Sequence[int], *, headers: Sequence[str] = ()) -> Sequence[ImapMessage]:
        found: list[ImapMessage] = []
        for first in range(0, len(uids), _AT_ONCE):
            some = uids[first : first + _AT_ONCE]
            try:
                found += self._some(some, headers)
            except CommandRefused as refusal:
                self._check_of_one(refusal)
                for uid in some:
                    found += self._one(uid, headers)
        return found

    def _one(self, uid: int, headers: Sequence[str]) -> Sequence[ImapMessage]:
        try:
            return list(self._some([uid], headers))
        except CommandRefused as refusal:
            self._record(uid, refusal)
            return [ImapMessage(uid=uid)]

    def _record(self, uid: int, refusal: CommandRefused) -> None:
        self._check_of_one(refusal)
        self.refusals[uid] = refusal.reply
        self._last_refusal = refusal

    def _check_of_one(self, refusal: CommandRefused) -> None:
        """Raises: CommandRefused if others would be refused, too: then no message must be passed over."""
        if refusal.code in _OF_EACH:
            raise refusal

    def check_given(self, uids: Sequence[int]) -> None:
        refusal = self._last_refusal
        if refusal is not None and len(uids) > 1 and self.refusals.keys() >= set(uids):
            raise CommandRefused(refusal.stage, refusal.code, refusal.reply, uids)

    def _some(self, uids: Sequence[int], headers: Sequence[str]) -> Iterator[ImapMessage]:
        wanted = f" BODY.PEEK[HEADER.FIELDS ({' '.join(headers)})]" if headers else ""
        items = f"(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE{wanted})"
        found: dict[int, ImapMessage] = {}
        for parts in self._fetch(uids, items, room=MOST_MESSAGE_BYTES):
            uid, values = self._fetched(parts)
            if uid in uids and uid not in found and b"ENVELOPE" in values:
                found[uid] = message_of(uid, values, headers)
        missing = [uid for uid in uids if uid not in found]
        if missing:
            # One that is described at too great a length must not keep the others from being read, and must not be
            # taken for one that was deleted.
            items = "(UID FLAGS INTERNALDATE RFC822.SIZE)"
            for parts in self._fetch(missing, items, room=_MOST_OTHER_BYTES):
                uid, values = self._fetched(parts)
                if uid in missing and uid not in found and b"RFC822.SIZE" in values:
                    found[uid] = message_of(uid, values, headers)
        return (found[uid] for uid in uids if uid in found)

    def content(self, uid: int, part: ImapPart, *, most: int) -> tuple[bytes, bool]:
        data: Value = None
        # A byte more than may be, because the size that servers tell is not always that of the part.
        item = f"(BODY.PEEK[{part.number}]<0.{most + 1}>)"
        try:
            for parts in self._fetch([uid], item, room=most + 1 + _MOST_OTHER_BYTES):
                found, values = self._fetched(parts)
                if found == uid:
                    data = next((value for key, value in values.items() if key.startswith(b"BODY[")), data)
        except CommandRefused as refusal:
            self._record(uid, refusal)
            return b"", False
        if not isinstance(data, bytes):
            # Another client has deleted the message meanwhile.
            return b"", part.size == 0
        read, is_whole = data[:most], len(data) <= most
        if part.encoding == "base64":
            is_whole = is_whole and not has_more_base64(read)
            read = base64_bytes(read)
        elif part.encoding == "quoted-printable":
            read = binascii.a2b_qp(read)
        return read, is_whole

    def text(self, uid: int, part: ImapPart, *, most: int) -> tuple[str, bool]:
        data, is_whole = self.content(uid, part, most=most)
        text = readable(decoded(data, part.charset))
        return text if is_whole else without_last_word(text), is_whole

    def mark_as_read(self, uids: Sequence[int]) -> None:
        if uids:
            self._do("mark", f"UID STORE {_set_of(uids)} +FLAGS.SILENT (\\Seen)")

    def move(self, uids: Sequence[int], folder: str) -> None:
        if b"MOVE" not in self._capabilities("move"):
            raise Unsupported("move", "moving messages (MOVE)")
        if uids:
            self._do("move", f"UID MOVE {_set_of(uids)} ", folder_name(folder))

    def end(self) -> None:
        """Say that the session ends, without waiting for the answer."""
        with suppress(OSError):
            self._wire.send(b"Z LOGOUT\r\n")

    def _fetch(self, uids: Sequence[int], items: str, *, room: int) -> Iterator[Sequence[bytes] | None]:
        try:
            yield from self._command("message", f"UID FETCH {_set_of(uids)} {items}", room=room)
        except CommandRefused as refusal:
            raise CommandRefused(refusal.stage, refusal.code, refusal.reply, uids) from None

    def _fetched(self, parts: Sequence[bytes] | None) -> tuple[int, Mapping[bytes, Value]]:
        """Return the UID of a message, and what the response tells of it; 0 if it tells nothing that can be read."""
        if parts is None or not _FETCH.match(parts[0]):
            return 0, {}
        self._bytes -= sum(map(len, parts[::2]))
        if self._bytes < 0:
            raise InvalidAnswer
        try:
            items = values_of(parts)[-1]
        except InvalidAnswer:
            return 0, {}
        if not isinstance(items, list):
            return 0, {}
        values = {
            name.upper(): value for name, value in zip(items[::2], items[1::2], strict=False) if isinstance(name, bytes)
        }
        uid = values.get(b"UID")
        return int(uid) if isinstance(uid, bytes) and _NUMBER.fullmatch(uid) else 0, values

    def _do(self, stage: Stage, *pieces: str) -> None:
        for _ in self._command(stage, *pieces):
            pass

    def _command(self, stage: Stage, *pieces: str, room: int = _MOST_OTHER_BYTES) -> Iterator[Sequence[bytes] | None]:
        """Send a command, and yield what the server says until it has completed it; None for what was too long.

        Args:
            pieces: Every second one is the value of an argument.
        """
        self._count += 1
        tag = b"A%d" % self._count
        data = tag + b" "
        for index, piece in enumerate(pieces):
            if index % 2 == 0:
                data += piece.encode("ascii")
            elif _PLAIN.fullmatch(piece):
                data += quoted(piece)
            else:
                value = piece.encode()
                self._wire.send(data + b"{%d}\r\n" % len(value))
                self._await_request(tag, stage)
                data = value
        self._wire.send(data + b"\r\n")
        return self._responses(tag, stage, room)

    def _await_request(self, tag: bytes, stage: Stage) -> None:
        """Wait until the server asks for the rest of a command."""
        for parts in self._responses(tag, stage, _MOST_OTHER_BYTES):
            if parts is not None and parts[0].startswith(b"+"):
                return
        raise InvalidAnswer

    def _responses(self, tag: bytes, stage: Stage, room: int) -> Iterator[Sequence[bytes] | None]:
        while True:
            parts = self._wire.response(room=room)
            if parts is not None and not parts[0].startswith((b"* ", b"+")):
                found, _, text = parts[0].partition(b" ")
                if found != tag:
                    raise InvalidAnswer
                status, _, reply = text.partition(b" ")
                if status.upper() == b"OK":
                    return
                if status.upper() not in (b"NO", b"BAD"):
                    raise InvalidAnswer
                code = _CODE.match(reply)
                raise CommandRefused(stage, (code[1] if code else status.upper()).decode(), shown(reply))
            if parts is not None and parts[0][:6].upper() == b"* BYE ":
                raise ConnectionEnded(shown(parts[0][6:]))
            yield parts


def shown(reply: bytes) -> str:
    """Return a reply as a text; of a long one only the length, because a part might end within a password."""
    text = readable(reply.decode("utf-8", "replace"))
    return text if len(text) <= _MOST_REPLY_CHARACTERS else f"a reply of {len(text)} characters"


def _set_of(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))
