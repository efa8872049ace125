"""Bugs to plant into a copy of the program. Most are of a kind that loses work, repeats it, or leaves it lying."""

import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).resolve().parent.parent.parent / "src"


@dataclass(frozen=True, slots=True)
class Change:
    """In a file of the program, one text gives way to another, at each of its places."""

    file: str
    old: str
    new: str
    places: int = 1


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug, and who has to find it.

    Attributes:
        caught_by: A test, as pytest names it, or faults of a campaign on PostgreSQL, separated by commas.
    """

    name: str
    changes: Sequence[Change]
    caught_by: str

    @property
    def is_caught_by_a_campaign(self) -> bool:
        return "::" not in self.caught_by

    def plant(self, directory: Path) -> Path:
        """A copy of the program with the bug in it; gives what to put into the search path.

        What the bug leaves as it is, is linked: to copy and to compile it takes longer than most of who look for it.
        """
        copy = directory / "src"
        _copy(SOURCES, copy, {SOURCES / "flowrunner" / change.file for change in self.changes})
        for change in self.changes:
            path = copy / "flowrunner" / change.file
            text = path.read_text()
            assert text.count(change.old) == change.places, (
                f"{change.file} has changed: plant '{self.name}' another way"
            )
            path.write_text(text.replace(change.old, change.new))
        return copy


def _copy(source: Path, to: Path, changed: Set[Path]) -> None:
    """Make a directory with copies of what is changed, and links to all else."""
    to.mkdir()
    for path in source.iterdir():
        if path in changed:
            shutil.copy(path, to)
        elif any(file.is_relative_to(path) for file in changed):
            _copy(path, to / path.name, changed)
        elif path.name != "__pycache__":
            (to / path.name).symlink_to(path)


_JOURNAL: Final = "storage/journal.py"
_APPENDS: Final = "storage/appends.py"
_DATABASE: Final = "storage/postgres/database.py"
_AT_ONCE: Final = "storage/postgres/concurrent_appends.py"
_LOCAL: Final = "dispatch/local.py"
_LATE_WRITES: Final = "tests/scenarios/test_late_writes.py::test_no_write_of_a_process_that_was_stopped_is_accepted"
_REPLACED: Final = f"{_LATE_WRITES}[of a server that was replaced]"

BUGS: Final[Sequence[Bug]] = (
    Bug(
        "an append counts whatever its epoch is",
        [
            Change(
                _APPENDS,
                " AND new.epoch >= (SELECT epoch FROM engine)\n"
                "   AND (executions.epoch = new.epoch OR executions.epoch < (SELECT epoch FROM engine))\n",
                "\n",
                places=2,
            ),
            Change(
                _AT_ONCE,
                " AND new.epoch >= engine.epoch\n"
                "       AND (executions.epoch = new.epoch OR executions.epoch < engine.epoch)\n",
                "\n",
            ),
            Change(_APPENDS, " WHERE new.epoch = (SELECT epoch FROM engine)\n", " WHERE true\n"),
            Change(_DATABASE, "if self._epoch is not None and not isinstance", "if False and not isinstance"),
        ],
        _REPLACED,
    ),
    Bug(
        "a server takes over without an epoch of its own",
        [Change(_JOURNAL, "SET epoch = epoch + :tokens RETURNING", "SET epoch = epoch + 0 * :tokens RETURNING")],
        _REPLACED,
    ),
    Bug(
        "whoever takes an execution over leaves no fencing token on it",
        [Change(_APPENDS, "UPDATE executions SET epoch = :fencing_token\n",
                "UPDATE executions SET epoch = CASE WHEN :fencing_token::bigint > 0 THEN epoch END\n"),
         Change(_AT_ONCE, "UPDATE executions SET epoch = new.fencing_token\n",
                "UPDATE executions SET epoch = executions.epoch\n"),
         Change(_JOURNAL, "        return fencing_token\n", "        return epoch\n")],
        f"{_LATE_WRITES}[of a worker whose executions others have]",
    ),
    Bug(
        "an append does not ask what it comes after",
        [
            Change(_APPENDS, " AND executions.last_seq = new.after\n", "\n", places=2),
            Change(_AT_ONCE, " AND executions.last_seq = new.after\n", "\n"),
        ],
        "tests/storage/test_journal.py::test_an_append_goes_behind_the_last_event_or_nowhere",
    ),
    Bug(
        "a standby takes itself for the active server",
        [Change("storage/postgres/ownership.py",
                "self.is_held = await self._connection.fetchval(TRY_TO_SHARE if self._is_shared else TRY)",
                "self.is_held = True")],
        "tests/scenarios/test_standby.py::test_two_servers_that_start_at_once_are_one_active_and_one_standby",
    ),
    Bug(
        "an execution that cannot be loaded at the moment is forgotten",
        [Change(_LOCAL, 'logger.exception("execution.load_failed", execution_id=id)\n'
                        "            self._retry_later(id, slot)\n",
                'logger.exception("execution.load_failed", execution_id=id)\n'
                "            self._leave(id, slot)\n")],
        "tests/scenarios/test_cuts.py"
        "::test_postgresql_that_restarts_at_any_moment_of_a_recovery_leaves_nothing_undone",
    ),
    Bug(
        "a run is answered before it is committed",
        [Change(_JOURNAL, "        return self._written(self._database.submit(AppendOp(append, self._free_storage)))\n",
                "        appending = self._database.submit(AppendOp(append, self._free_storage))\n"
                "        if append.create is None:\n"
                "            return self._written(appending)\n"
                "        appending.add_done_callback(lambda done: done.cancelled() or done.exception())\n"
                "        return asyncio.sleep(0)\n")],
        "server killed at its answer,PostgreSQL killed",
    ),
    Bug(
        "events are written outside the transaction of their summary",
        [Change(_AT_ONCE, "    done = [advancing[id] for",
                "    import asyncio\n"
                "    from flowrunner.storage.appends import ADD_EVENT\n"
                '    columns |= {name: [] for name in ("event_of", "seq", "at", "type", "data")}\n'
                "    done = [advancing[id] for"),
         Change(_AT_ONCE, "    for work in done:\n",
                "    await asyncio.sleep(0.02)\n"
                "    await tx.run_many(ADD_EVENT, events)\n"
                "    for work in done:\n")],
        "server killed,PostgreSQL killed",
    ),
    Bug(
        "PostgreSQL need not keep what is committed",
        [Change(_DATABASE, 'idle_in_transaction_session_timeout=f"{STALLED_SECONDS * 1000:.0f}",',
                'idle_in_transaction_session_timeout=f"{STALLED_SECONDS * 1000:.0f}", synchronous_commit="off",')],
        "PostgreSQL killed",
    ),
    Bug(
        "a commit that has failed counts",
        [Change(_DATABASE, "            pending.error = error\n            pending.resolve()\n",
                "            pending.resolve()\n")],
        "PostgreSQL killed",
    ),
    Bug(
        "a step begins before its start is recorded",
        [Change("engine/actor.py", "            if self._may_hold_back():\n", "            self._steps.launch()\n"
                "            if self._may_hold_back():\n")],
        "server killed at its answer,server killed",
    ),
    Bug(
        "timers end with the first error",
        [Change("dispatch/timers.py", "                nap = _RETRY_SECONDS\n",
                "                await asyncio.Event().wait()\n")],
        "tests/scenarios/test_cuts.py"
        "::test_a_server_whose_database_is_cut_off_says_so_at_once_and_comes_back_by_itself",
    ),
    Bug(
        "a branch that lost goes on",
        [Change("engine/actor.py", "                self._steps.cancel(current.step)\n", "")],
        "tests/engine/test_cancellation.py::test_a_branch_that_lost_is_cancelled_at_once_and_does_nothing_more",
    ),
    Bug(
        "a due time is lost to a pause that begins while it is started",
        [Change("services/schedules.py", "except (TriggerHasMoved, FlowDisabled, StartsPaused):",
                "except (TriggerHasMoved, FlowDisabled):")],
        "tests/services/test_schedules.py"
        "::test_a_pause_that_begins_while_due_times_are_started_leaves_them_to_its_end",
    ),
    Bug(
        "a socket opens without the second factor that its workspace requires",
        [Change("api/http/authentication.py",
                "    caller = websocket.scope[\"caller\"] = await act_at(websocket, caller, place)\n"
                "    authorise(caller, right)\n",
                "    caller = websocket.scope[\"caller\"] = await act_at(websocket, caller, place)\n")],
        "tests/security/test_second_factor.py::test_s71_a_workspace_requires_a_second_factor_of_its_members",
    ),
    Bug(
        "the client leaves out what is false",
        [Change("client/calls.py", "for name, value in body.items() if value is not None}",
                "for name, value in body.items() if value}")],
        "tests/client/test_operations.py"
        "::test_a_method_sends_each_value_of_its_body_also_one_that_is_false_or_empty",
    ),
    Bug(
        "a page leaves out what has the time of its last entry",
        [Change("storage/hooks.py", "(d.received_at, d.id) < (:before, :before_id)",
                "d.received_at < :before AND :before_id = :before_id")],
        "tests/storage/test_hooks.py::test_pages_have_each_of_the_requests_that_came_in_one_millisecond",
    ),
)  # fmt: skip
