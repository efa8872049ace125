"""Suggestions of the known name that an unknown one probably means."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

# Comparisons for one document, to bound the time that a document full of wrong names takes: half a second.
_MOST_COMPARED: Final = 10_000
_MOST_CHARACTERS: Final = 60
# From this similarity on, a name is a typo and not a word of another system.
SLIP: Final = 0.8

# A shorter word is part of many others by chance.
_LEAST_STEM: Final = 3

# Words of other systems and languages, and their names in flows: the first name that is valid at the place is
# suggested. Words are in lower case, without separators.
_ELSEWHERE: Final = (
    # Keys of flows and nodes.
    ("steps step jobs job tasks states stages do branches", "nodes"),
    ("nodes", "branches"),
    ("env environment variables constants globals var", "vars"),
    (
        "parameters args arguments inputschema inputs input config configuration options settings properties with",
        "params",
    ),
    ("parameters args arguments inputschema input params", "inputs"),
    ("onerror onfail", "on_failure"),
    ("finally always cleanup onexit onend oncomplete", "on_finish"),
    ("entry entrypoint startat begin first", "start"),
    ("condition when runif onlyif", "if"),
    ("retries maxretries attempts retrypolicy", "retry"),
    ("onsuccess then goto nextnode transition transitions to edges connections", "next"),
    ("kind uses action node nodetype", "type"),
    ("title comment label summary displayname", "description"),
    # Settings of retries.
    ("count attempts retries maxattempts times limit number", "max max_iterations"),
    ("interval waittime initialdelay period sleep seconds", "delay duration"),
    ("on retryon codes statuses statuscodes types", "errors"),
    ("status statuscodes codes", "expect_status"),
    ("factor multiplier rate", "backoff"),
    ("maxinterval maxwait cap", "max_delay"),
    ("maxduration maxtime deadline timeout", "max_elapsed timeout"),
    # Parameters.
    ("text msg line content", "message prompt body"),
    ("uri href endpoint address link host", "url"),
    ("json payload data", "body params items input result value"),
    ("binary bytes raw", "base64"),
    ("file multipart upload attachment attachments", "files"),
    ("name", "filename"),
    ("mime mimetype type", "content_type"),
    ("content data value", "base64"),
    ("params parameters args qs search querystring", "query"),
    ("params parameters args arguments inputs data", "input"),
    ("verb", "method"),
    ("code js javascript jscode function source", "script"),
    ("expression expr result output return", "value"),
    ("milliseconds ms time wait", "duration"),
    ("list array collection in of over elements", "items"),
    ("item variable itemname name", "as"),
    ("parallelism maxparallel maxconcurrency workers batchsize", "concurrency"),
    ("if condition test", "when cases conditions"),
    ("then target goto next", "action"),
    ("else otherwise default", "default_action default"),
    ("maxloops", "max_iterations"),
    ("workflow subflow subworkflow flowid", "flow"),
    ("question text", "prompt"),
    ("approvers groups users", "roles"),
    ("schema", "form"),
    ("signal event name", "key"),
    ("type code", "error"),
    ("severity", "level"),
    ("bearer bearertoken accesstoken jwt", "token"),
    ("basic user login", "username"),
    ("pass pwd passwd", "password"),
    ("header headername keyname in", "key_name"),
    ("key apikey value", "api_key"),
    # Node types.
    ("http request fetch curl get post api rest", "http.request"),
    ("if ifelse branch choice router route case decision", "switch"),
    ("sleep pause timer", "delay"),
    ("loop for map each iterate splitinbatches", "foreach"),
    ("repeat until dowhile", "while"),
    ("script code function javascript js python eval template jq", "transform"),
    ("call executeworkflow childworkflow", "flow"),
    ("end stop finish exit", "return"),
    ("throw raise abort", "fail"),
    ("print echo debug console logger noop", "log"),
    ("assign setvariable", "set"),
    ("fork concurrent all", "parallel"),
    ("human manual usertask waitforapproval", "approval"),
    ("signal event", "wait"),
    ("callback hook", "webhook"),
    # Names in expressions, and the values that they read from a node.
    ("secret credentials creds", "secrets"),
    ("configs configuration settings", "config"),
    ("$json $input ctx context body params inputs data", "input"),
    ("steps step jobs tasks $node outputs", "nodes"),
    ("output outputs response res body value data", "result"),
    ("state", "status"),
    ("err exception", "error"),
    ("run", "execution"),
    # Actions of nodes.
    ("yes accept accepted ok", "approved"),
    ("no deny denied", "rejected"),
    ("success completed main ok", "default"),
    ("failure failed catch rescue", "error"),
    ("expired timedout", "timeout"),
)


def _by_word() -> Mapping[str, tuple[str, ...]]:
    meant: dict[str, tuple[str, ...]] = {}
    for words, names in _ELSEWHERE:
        for word in words.split():
            meant[word] = (*meant.get(word, ()), *names.split())
    return meant


_MEANT: Final = _by_word()


def squashed(word: str) -> str:
    """Return a word in lower case without separators: `depends_on`, `dependsOn` and `depends-on` are equal."""
    return word.lower().replace("_", "").replace("-", "")


def nearest(text: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
    """Return the name among ``known`` that is probably meant, or None.

    Args:
        cutoff: Least similarity to ``text``, from 0 to 1. From `SLIP` on, words of other systems are ignored.
    """
    if len(text) > _MOST_CHARACTERS:
        return None
    near = [name for name in difflib.get_close_matches(text, known, n=3, cutoff=cutoff) if share_a_stem(text, name)]
    if cutoff < SLIP and not (near and difflib.SequenceMatcher(None, near[0], text).ratio() >= SLIP):
        near = [name for name in _MEANT.get(squashed(text), ()) if name in known][:1] or near
    return near[0] if near else None


def share_a_stem(one: str, other: str) -> bool:
    """Return whether two words are forms or misspellings of one word; shared letters alone do not count.

    >>> share_a_stem("retrun", "return"), share_a_stem("log_level", "level"), share_a_stem("delete", "delay")
    (True, True, False)
    """
    one, other = squashed(one), squashed(other)
    short, long = sorted((one, other), key=len)
    if long[:-1] == short:
        # Of one letter, a second one is half of the word.
        return True
    if difflib.SequenceMatcher(None, one, other).ratio() >= SLIP or sorted(one) == sorted(other):
        return True
    if len(short) >= _LEAST_STEM and (long.startswith(short) or long.endswith(short)):
        return True
    if "." in one and one.partition(".")[0] == other.partition(".")[0]:
        return True
    stem = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(short))
    return stem > len(long) / 2


def did_you_mean(text: str, known: Collection[str]) -> str | None:
    """Return a hint such as `did you mean 'params'?`, or None if no known name is similar."""
    near = nearest(text, known)
    return None if near is None else f"did you mean '{near}'?"


def is_suggestion(hint: str | None) -> bool:
    """Return whether a hint suggests a name."""
    return hint is not None and hint.startswith("did you mean ")


@dataclass(slots=True)
class Suggestions:
    """Suggestions for the faults of one document, with a bound on the comparisons: the first faults get one."""

    left: int = _MOST_COMPARED

    def nearest(self, text: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
        if len(known) > self.left:
            return None
        self.left -= len(known)
        return nearest(text, known, cutoff=cutoff)

    def did_you_mean(self, text: str, known: Collection[str]) -> str | None:
        near = self.nearest(text, known)
        return None if near is None else f"did you mean '{near}'?"
