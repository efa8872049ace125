"""Registry of the tables: their columns, their copy, and their part in deletions and in key rotation.

Each table stands after those that its foreign keys refer to. Rows are copied in this order, and removed with an account
or a workspace in the reverse one. `tests/storage/test_tables.py` compares the registry with the schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flowrunner.storage.transaction import Sql, Statement

Owner: TypeAlias = Literal["account", "workspace"]


@dataclass(frozen=True, slots=True)
class Untouched:
    """The reason why an operation on all tables leaves the rows of one alone."""

    reason: str


@dataclass(frozen=True, slots=True)
class SealedValues:
    """The values of a table that are sealed under the data keys of their workspaces.

    Attributes:
        read: The statement that reads them, with `:workspace_id`: the key of the value, to which the sealing binds it,
            `key_version`, the sealed bytes, and version, master key id and wrapped bytes of the data key.
        replace: The statement that stores a newly sealed value, with `:workspace_id`, `:key`, `:key_version` and
            `:sealed`.
    """

    read: str
    replace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the schema.

    Attributes:
        columns: All columns except generated ones.
        booleans: The columns that SQLite stores as 0 and 1.
        key: The columns of the primary key, in whose order the rows are copied; or why they are not copied.
        on_deletion: The statements to execute when an account, together with its personal workspace, or a workspace is
            deleted; `:id` is its id, `:at` the time.
        sealed: The values that a rotation of data keys seals again; None if there are none.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] | Untouched
    on_deletion: Mapping[Owner, Sql | Untouched] | Untouched
    booleans: frozenset[str] = frozenset()
    sealed: SealedValues | None = None


# One statement, because a rotation may replace the keys between two statements.
SEALED_SECRETS: Final = """
SELECT s.key, s.key_version, s.sealed, d.version, d.master_key_id, d.wrapped
  FROM secrets s LEFT JOIN data_keys d ON d.workspace_id = s.workspace_id AND d.version = s.key_version
 WHERE s.workspace_id = :workspace_id ORDER BY s.key
"""
RESEAL: Final = """
UPDATE secrets SET key_version = :key_version, sealed = :sealed WHERE workspace_id = :workspace_id AND key = :key
"""
# The same for the URLs and signing secrets of callbacks, whose key is their id.
SEALED_CALLBACKS: Final = """
SELECT c.id, c.key_version, c.sealed, d.version, d.master_key_id, d.wrapped
  FROM callbacks c LEFT JOIN data_keys d ON d.workspace_id = c.workspace_id AND d.version = c.key_version
 WHERE c.workspace_id = :workspace_id ORDER BY c.id
"""
RESEAL_CALLBACK: Final = """
UPDATE callbacks SET key_version = :key_version, sealed = :sealed WHERE workspace_id = :workspace_id AND id = :key
"""

# The rows stay until a background job has deleted their deliveries, which refer to them.
_ERASE_CALLBACKS: Final = """
UPDATE callbacks
   SET name = '', address = '', template = NULL, sealed = NOTHING, disabled_at = coalesce(disabled_at, :at)
 WHERE workspace_id = :id
"""
# The same for second factors, which are sealed under the data keys of the personal workspaces.
SEALED_FACTORS: Final = """
SELECT f.id, f.key_version, f.sealed, d.version, d.master_key_id, d.wrapped
  FROM second_factors f LEFT JOIN data_keys d ON d.workspace_id = f.account_id AND d.version = f.key_version
 WHERE f.account_id = :workspace_id ORDER BY f.id
"""
RESEAL_FACTOR: Final = """
UPDATE second_factors SET key_version = :key_version, sealed = :sealed WHERE account_id = :workspace_id AND id = :key
"""

TABLES: Final = (
    Table(
        name="engine",
        columns=("only", "epoch", "compatible_with", "paused_at"),
        key=Untouched("A migration creates its only row; `copying` sets the epoch and the pause"),
        on_deletion=Untouched("It belongs to the installation"),
    ),
    Table(
        # Before accounts: a trigger on accounts would create the workspaces otherwise.
        name="workspaces",
        columns=(
            "id", "created_at", "name", "slug", "deleted_at", "second_factor_required_at", "retention_age",
            "retention_count",
        ),
        key=("id",),
        on_deletion=Untouched("Executions refer to it"),
    ),
    Table(
        name="accounts",
        columns=(
            "id", "name", "email", "role", "password_hash", "created_at", "updated_at", "disabled_at", "deleted_at",
            "email_confirmed_at", "confirmation_digest", "confirmation_expires_at",
        ),
        key=("id",),
        on_deletion=Untouched("`accounts.DELETE` removes the personal data first; executions refer to the row"),
    ),
    Table(
        name="members",
        columns=("workspace_id", "account_id", "role", "added_at"),
        key=("workspace_id", "account_id"),
        on_deletion={
            "account": "DELETE FROM members WHERE account_id = :id",
            "workspace": "DELETE FROM members WHERE workspace_id = :id",
        },
    ),
    Table(
        name="usage",
        columns=("workspace_id", "part", "stored"),
        key=Untouched("Triggers compute it from the copied rows; `copying` compares the sums"),
        on_deletion=Untouched("Triggers subtract what is deleted"),
    ),
    Table(
        name="sessions",
        columns=(
            "id", "family", "account_id", "expires_at", "token_expires_at", "logged_in_at", "replaced_by",
            "last_used_at", "address", "agent", "proof",
        ),
        key=("id",),
        on_deletion={"account": "DELETE FROM sessions WHERE account_id = :id"},
    ),
    Table(
        name="preferences",
        columns=("account_id", "data", "updated_at"),
        key=("account_id",),
        on_deletion={"account": "DELETE FROM preferences WHERE account_id = :id"},
    ),
    Table(
        name="tickets",
        columns=("digest", "session_id", "expires_at"),
        key=("digest",),
        on_deletion=Untouched("A ticket is worthless without its session, and expires within seconds"),
    ),
    Table(
        name="api_tokens",
        columns=(
            "id", "account_id", "name", "digest", "scopes", "created_at", "expires_at", "last_used_at", "workspace_id",
        ),
        key=("id",),
        on_deletion={
            "account": "DELETE FROM api_tokens WHERE account_id = :id",
            "workspace": Untouched("They work for members only; a background job deletes those of deleted workspaces"),
        },
    ),
    Table(
        name="invitations",
        columns=("id", "workspace_id", "email", "role", "digest", "invited_by", "created_at", "expires_at"),
        key=("id",),
        # Those of an account are deleted before it.
        on_deletion={"workspace": "DELETE FROM invitations WHERE workspace_id = :id"},
    ),
    Table(
        name="password_resets",
        columns=("digest", "account_id", "created_at", "expires_at"),
        key=("digest",),
        on_deletion={"account": "DELETE FROM password_resets WHERE account_id = :id"},
    ),
    Table(
        name="outgoing_mails",
        columns=(
            "id", "account_id", "recipient", "subject", "text", "page", "seed", "created_at", "expires_at", "failures",
            "next_at",
        ),
        key=("id",),
        on_deletion={"account": "DELETE FROM outgoing_mails WHERE account_id = :id"},
    ),
    Table(
        name="request_keys",
        columns=("account_id", "key", "workspace_id", "request_id", "digest", "created_at", "answer"),
        key=("account_id", "key"),
        # There may be very many of one day, and other writes would wait for their deletion together.
        on_deletion=Untouched("A background job deletes those of accounts and workspaces that are gone"),
    ),
    Table(
        name="key_rotations",
        columns=(
            "id", "kind", "replaces", "replaced_by", "switched_at", "requested_at", "needed_until", "completed_at",
        ),
        key=("id",),
        on_deletion=Untouched("They belong to the installation"),
    ),
    Table(
        name="data_keys",
        columns=("workspace_id", "version", "master_key_id", "wrapped", "rotation"),
        key=("workspace_id", "version"),
        # Without the data key, no copy of the workspace's secrets can be read.
        on_deletion={"workspace": "DELETE FROM data_keys WHERE workspace_id = :id"},
    ),
    Table(
        name="second_factors",
        columns=(
            "id", "account_id", "type", "name", "created_at", "confirmed_at", "last_used_at", "counter",
            "credential_id", "key_version", "sealed",
        ),
        key=("id",),
        on_deletion={"account": "DELETE FROM second_factors WHERE account_id = :id"},
        sealed=SealedValues(read=SEALED_FACTORS, replace=RESEAL_FACTOR),
    ),
    Table(
        name="recovery_codes",
        columns=("account_id", "digest", "created_at"),
        key=("account_id", "digest"),
        on_deletion={"account": "DELETE FROM recovery_codes WHERE account_id = :id"},
    ),
    Table(
        name="wrong_codes",
        columns=("account_id", "number", "not_before"),
        key=("account_id",),
        on_deletion={"account": "DELETE FROM wrong_codes WHERE account_id = :id"},
    ),
    Table(
        name="login_challenges",
        columns=("digest", "account_id", "purpose", "attempts", "expires_at"),
        key=("digest",),
        on_deletion={"account": "DELETE FROM login_challenges WHERE account_id = :id"},
    ),
    Table(
        name="identities",
        columns=("id", "account_id", "provider", "issuer", "subject", "created_at", "last_used_at"),
        key=("id",),
        on_deletion={"account": "DELETE FROM identities WHERE account_id = :id"},
    ),
    Table(
        name="secrets",
        columns=("workspace_id", "key", "key_version", "sealed", "created_at", "updated_at", "last_used_at"),
        key=("workspace_id", "key"),
        on_deletion={"workspace": "DELETE FROM secrets WHERE workspace_id = :id"},
        sealed=SealedValues(read=SEALED_SECRETS, replace=RESEAL),
    ),
    Table(
        name="config_values",
        columns=("workspace_id", "name", "value", "edition", "created_at", "updated_at"),
        key=("workspace_id", "name"),
        on_deletion={"workspace": "DELETE FROM config_values WHERE workspace_id = :id"},
    ),
    Table(
        name="store_entries",
        columns=(
            "workspace_id", "namespace", "key", "size", "edition", "created_at", "updated_at", "expires_at", "value",
        ),
        key=("workspace_id", "namespace", "key"),
        # There may be very many, and other writes would wait for their deletion together.
        on_deletion=Untouched("A background job deletes those of deleted workspaces"),
    ),
    Table(
        name="store_counts",
        columns=("workspace_id", "number"),
        key=Untouched("Triggers count the copied rows"),
        on_deletion=Untouched("Triggers count what is deleted"),
    ),
    Table(
        name="store_results",
        columns=("execution_id", "digest", "result"),
        key=("execution_id", "digest"),
        on_deletion=Untouched("A background job deletes those of ended executions"),
    ),
    Table(
        name="flows",
        columns=(
            "id", "workspace_id", "name", "description", "version", "tags", "revision_id", "edition", "created_at",
            "updated_at", "deleted_at", "moving_from", "disabled_at", "secret_names", "secrets_of", "retention_age",
            "retention_count", "tool_name", "tool_inputs", "config_names",
        ),
        key=("id",),
        # Retention deletes them once no execution is left.
        on_deletion={"workspace": "UPDATE flows SET deleted_at = :at WHERE workspace_id = :id AND deleted_at IS NULL"},
    ),
    Table(
        name="revisions",
        columns=(
            "id", "workspace_id", "flow_id", "number", "version", "size", "created_at", "deleted_at", "definition",
            "created_by",
        ),
        key=("id",),
        on_deletion=Untouched("Retention deletes them with their flows"),
    ),
    Table(
        name="executions",
        columns=(
            "id", "workspace_id", "flow_id", "revision_id", "status", "started_at", "completed_at", "error", "is_idle",
            "wake_at", "waiting_for", "epoch", "last_seq", "size", "idempotency_key", "request_digest", "parent_id",
            "rerun_of", "concurrency_key", "concurrency_limit", "queue_position", "is_queued", "is_active", "queued_at",
            "approval_at", "error_type", "failed_node", "log_counts", "trigger_id", "original_id", "labels",
            "started_by",
        ),
        booleans=frozenset({"is_idle", "is_queued", "is_active"}),
        key=("id",),
        on_deletion=Untouched("They are cancelled; a background job wakes those that a process has left"),
    ),
    Table(
        name="execution_terms",
        columns=("workspace_id", "name", "value", "execution_id"),
        key=("workspace_id", "name", "value", "execution_id"),
        on_deletion=Untouched("They are deleted with their executions"),
    ),
    Table(
        # After executions: the end of one that is copied must start nothing.
        name="triggers",
        columns=(
            "id", "workspace_id", "flow_id", "name", "type", "spec", "url_token", "created_at", "paused_at",
            "removed_at", "due_at", "next_at", "listens_to", "listens_status", "is_of_children", "last_at",
            "last_execution_id", "failures", "error", "skipped", "missed",
        ),
        booleans=frozenset({"is_of_children"}),
        key=("id",),
        on_deletion=Untouched("A background job deletes those of deleted workspaces, whose flows are deleted at once"),
    ),
    Table(
        name="hook_deliveries",
        columns=(
            "id", "workspace_id", "trigger_id", "received_at", "state", "execution_id", "error", "request", "size",
        ),
        key=("id",),
        # Each may have a megabyte, and other writes would wait for their deletion together.
        on_deletion=Untouched("A background job deletes those of triggers that are gone"),
    ),
    Table(
        name="hook_refusals",
        columns=("trigger_id", "count", "last"),
        key=("trigger_id",),
        on_deletion=Untouched("A background job deletes those of triggers that are gone"),
    ),
    Table(
        name="trigger_outbox",
        columns=("trigger_id", "execution_id"),
        key=("trigger_id", "execution_id"),
        on_deletion=Untouched("The row of a trigger that is gone is removed when it is read"),
    ),
    Table(
        name="execution_counts",
        columns=("workspace_id", "flow_id", "status", "part", "number"),
        key=Untouched("Triggers count the copied rows"),
        on_deletion=Untouched("Triggers count what is deleted"),
    ),
    Table(
        name="events",
        columns=("execution_id", "seq", "at", "type", "data"),
        key=("execution_id", "seq"),
        on_deletion=Untouched("Retention deletes them with their executions"),
    ),
    Table(
        name="execution_inbox",
        columns=("number", "execution_id", "workspace_id", "sent_at", "kind", "content", "is_rejected"),
        booleans=frozenset({"is_rejected"}),
        key=Untouched("A single process uses a file, and sends no messages"),
        on_deletion=Untouched("Messages are deleted when they are taken, or when their executions have ended"),
    ),
    Table(
        name="jobs",
        columns=(
            "id", "workspace_id", "created_by", "type", "status", "total", "done", "failed", "position", "created_at",
            "completed_at", "errors", "work",
        ),
        key=("id",),
        on_deletion=Untouched("A background job deletes those of deleted workspaces, in which nobody has a role"),
    ),
    Table(
        name="deleted_executions",
        columns=("id",),
        key=("id",),
        on_deletion=Untouched("A background job deletes their events, and then the rows"),
    ),
    Table(
        # After executions: a trigger on those would tell the copied callbacks of every copied end.
        name="callbacks",
        columns=(
            "id", "workspace_id", "name", "events", "format", "address", "flow_id", "tag", "is_for_children",
            "template", "key_version", "sealed", "created_at", "updated_at", "disabled_at", "disabled_reason",
            "failures", "failing_since", "paused_until",
        ),
        booleans=frozenset({"is_for_children"}),
        key=("id",),
        # Nothing is sent any more, and neither URL nor signing secret is left.
        on_deletion={"workspace": Statement(
            sqlite=_ERASE_CALLBACKS.replace("NOTHING", "X''"),
            postgres=_ERASE_CALLBACKS.replace("NOTHING", "CAST('' AS bytea)"),
        )},
        sealed=SealedValues(read=SEALED_CALLBACKS, replace=RESEAL_CALLBACK),
    ),
    Table(
        name="callback_deliveries",
        columns=(
            "id", "workspace_id", "callback_id", "event", "execution_id", "seq", "subject", "details", "noted_at",
            "state", "attempts", "retry_until", "next_at", "last_at", "status_code", "error",
        ),
        key=("id",),
        # There may be very many, and other writes would wait for their deletion together.
        on_deletion=Untouched("A background job deletes those of workspaces that are gone, with their callbacks"),
    ),
    Table(
        name="background_jobs",
        columns=(
            "name", "fencing_token", "claimed_until", "not_before", "last_run_at", "failures", "last_error",
        ),
        key=Untouched("The servers on the new database create these rows"),
        on_deletion=Untouched("The jobs belong to no account or workspace"),
    ),
    Table(
        name="audit",
        columns=(
            "seq", "at", "actor", "credential", "address", "action", "object_kind", "object_id", "workspace_id",
            "outcome", "details", "previous", "hash",
        ),
        key=("seq",),
        on_deletion=Untouched("The log is append-only"),
    ),
    Table(
        name="audit_counts",
        columns=("account_id", "workspace_id", "action", "outcome", "since", "count"),
        key=("account_id", "workspace_id", "action", "outcome"),
        on_deletion=Untouched("A background job moves them into the log"),
    ),
    Table(
        name="audit_anchor",
        columns=("only", "seq", "hash"),
        key=Untouched("A migration creates its only row; `copying` sets it"),
        on_deletion=Untouched("The log is append-only"),
    ),
)  # fmt: skip


def deletions(owner: Owner) -> tuple[Sql, ...]:
    """Return the statements that delete the rows of an account or a workspace, of all tables."""
    of_tables = [table.on_deletion for table in reversed(TABLES) if not isinstance(table.on_deletion, Untouched)]
    found = [of_owners.get(owner) for of_owners in of_tables]
    return tuple(each for each in found if each is not None and not isinstance(each, Untouched))
