"""Terms of executions: the labels, searchable inputs and jobs by which lists select them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flowrunner.bounded_json import BoundedDecoder
from flowrunner.domain.labels import NO_LABELS, job_term, terms_of
from flowrunner.ports.journal import NewExecution
from flowrunner.storage.transaction import Statement

ADD_TERM: Final = Statement(
    sqlite="INSERT INTO execution_terms (workspace_id, name, value, execution_id) VALUES (?, ?, ?, ?)",
    postgres="""
INSERT INTO execution_terms (workspace_id, name, value, execution_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
""",
)


class _Start(msgspec.Struct):
    """The values of a start that have terms."""

    input: dict[str, Any] = {}
    labels: dict[str, str] | None = None


_START: Final = BoundedDecoder[_Start](_Start)


def terms_of_start(new: NewExecution, started: bytes) -> tuple[str | None, Sequence[Sequence[str]]]:
    """Return the labels of a new execution as a JSON text, and the rows of its terms.

    Args:
        started: Its first event as it is stored, and therefore without secrets.
    """
    if not new.labels and not new.searchable:
        # Without decoding an input of perhaps a megabyte while other executions wait to be written.
        return None, () if new.job is None else [(new.workspace_id, *job_term(new.job), new.id)]
    start = _START.decode(started)
    labels = start.labels or NO_LABELS
    terms = [(new.workspace_id, *term, new.id) for term in terms_of(labels, start.input, new.searchable, new.job)]
    return msgspec.json.encode(labels).decode() if labels else None, terms
