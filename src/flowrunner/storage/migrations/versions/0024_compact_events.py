"""A view of the events with the names of their types and fields, for people who read them by SQL."""

from alembic import op

revision = "0024"
down_revision = "0023"

# The compact form of events, as `ports.event_codec` writes it. The rows that are stored already stay as they are.
_TYPES = {
    "b": "execution.started", "s": "node.started", "c": "node.completed", "l": "log", "e": "execution.completed",
}  # fmt: skip
_NAMES = {
    "n": "node", "t": "node_type", "i": "iteration", "a": "attempt", "x": "action", "r": "result", "l": "level",
    "m": "message", "d": "data",
}  # fmt: skip
# Omitted fields, the types that have them, and their values.
_OMITTED = (("i", "'s', 'c'", "1"), ("a", "'s', 'c'", "1"), ("x", "'c'", '"default"'), ("l", "'l'", '"info"'))

_VIEW = """
CREATE VIEW readable_events AS
SELECT execution_id, seq, at, CASE type {types} ELSE type END AS type,
       CASE WHEN type IN ('b', 's', 'c', 'l', 'e'){readable} THEN (SELECT {object} FROM (
            SELECT CASE key {names} ELSE key END AS name, {field} AS field FROM json_each({data})
            {omitted}) AS fields) ELSE data END AS data
  FROM events
"""


def _view(*, object: str, field: str, data: str, has: str, value: str, readable: str = "") -> str:
    omitted = [
        f"UNION ALL SELECT '{_NAMES[name]}', {value % text} WHERE type IN ({types}) AND {has % name} IS NULL"
        for name, types, text in _OMITTED
    ]
    return _VIEW.format(
        types=" ".join(f"WHEN '{short}' THEN '{name}'" for short, name in _TYPES.items()),
        names=" ".join(f"WHEN '{short}' THEN '{name}'" for short, name in _NAMES.items()),
        omitted=" ".join(omitted),
        object=object,
        readable=readable,
        field=field,
        data=data,
    )


# SQLite reads 1,000 levels of JSON; an event with more stays as it is.
SQLITE = _view(
    object="json_group_object(name, json(field))", field="events.data -> fullkey", data="events.data",
    has="events.data -> '$.%s'", value="'%s'", readable=" AND json_valid(events.data)",
)  # fmt: skip
# PostgreSQL cannot decode NUL, which a message may contain.
_JSON = r"CAST(replace(events.data, '\u0000', '\ufffd') AS json)"
POSTGRES = _view(
    object="CAST(json_object_agg(name, field) AS text)", field="value", data=_JSON, has=f"{_JSON} -> '%s'",
    value="CAST('%s' AS json)",
)  # fmt: skip


def upgrade() -> None:
    op.execute(POSTGRES if op.get_context().dialect.name == "postgresql" else SQLITE)
