"""Lists, details, logs and retention of executions."""

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import ErrorValue, Failed, Logged, Step
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.ports.executions import LONGEST_LISTED_ERROR, ExecutionFilter, LogFilter
from flowrunner.ports.journal import load_whole
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.journal import TOKENS_PER_EPOCH, SqlJournal
from flowrunner.storage.retention import SqlRetention
from support.databases import MARA, NOON, OMAR, Place, change, completion, creation, following, log_line, rows_of

from .samples import ALL


@pytest.fixture
async def executions(database: Database, journal: SqlJournal) -> SqlExecutions:
    """Create ten executions of Mara an hour apart, the even ones completed, and one of Omar."""
    epoch = await journal.claim()
    for n in range(10):
        at = NOON + timedelta(hours=n)
        await journal.append(creation(f"e{n}", epoch=epoch, flow_id=f"flow-{n % 3}", at=at))
        if n % 2 == 0:
            await journal.append(completion(f"e{n}", epoch=epoch, result={"n": n}, at=at))
    await journal.append(creation("omars", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar"))
    return SqlExecutions(database)


async def test_an_execution_shows_its_input_and_result(executions: SqlExecutions) -> None:
    ended, running = await executions.get(MARA, ExecutionId("e4")), await executions.get(MARA, ExecutionId("e5"))

    assert (ended.status, ended.input, ended.result) == (Status.COMPLETED, b'{"n":1}', b'{"n":4}')
    assert (running.status, running.input, running.result) == (Status.RUNNING, b'{"n":1}', None)
    for id in ("omars", "nobody"):
        with pytest.raises(NotFound):
            await executions.get(MARA, ExecutionId(id))
        with pytest.raises(NotFound):
            await executions.logs(MARA, ExecutionId(id), LogFilter(), ALL, most=10)


async def test_executions_are_listed_the_newest_first(executions: SqlExecutions) -> None:
    listed = await executions.page(MARA, ExecutionFilter(), Page(limit=3, offset=1))
    assert ([e.id for e in listed.items], listed.total) == (["e8", "e7", "e6"], 10)
    wanted = ExecutionFilter(flow_id=FlowId("flow-1"), statuses=(Status.COMPLETED,))
    listed = await executions.page(MARA, wanted, ALL)
    assert ([e.id for e in listed.items], listed.total) == (["e4"], 1)
    listed = await executions.page(MARA, ExecutionFilter(statuses=(Status.RUNNING, Status.FAILED)), ALL)
    assert ([e.id for e in listed.items], listed.total) == (["e9", "e7", "e5", "e3", "e1"], 5)


async def test_a_line_of_the_log_has_what_its_step_has_written(executions: SqlExecutions, journal: SqlJournal) -> None:
    line = Logged(
        level="warn", message="m", node="push", node_type="http", data={"d": 1}, scope="each.1[4]", iteration=2,
        attempt=3,
    )  # fmt: skip
    at = NOON + timedelta(hours=9)
    of_node = replace(log_line(), node="push", node_type="http")
    await journal.append(following("e1", line, log_line(), of_node, epoch=TOKENS_PER_EPOCH, after=2, at=at))

    first, second, third = (await executions.logs(MARA, ExecutionId("e1"), LogFilter(), ALL, most=9)).items

    assert (first.seq, first.level, first.message, first.node_id, first.node_type, first.data, first.step) == (
        3, "warn", "m", "push", "http", b'{"d":1}', "each.1[4]/push.2",
    )  # fmt: skip
    assert first.attempt == 3
    assert first.timestamp - at == timedelta(milliseconds=3)
    assert (second.seq, second.node_id, second.node_type, second.data, second.step) == (4, None, None, None, None)
    # Of none of its steps.
    assert (third.node_id, third.node_type, third.step, third.attempt) == ("push", "http", None, 1)


async def test_logs_are_listed_by_level(executions: SqlExecutions, journal: SqlJournal) -> None:
    lines = [replace(log_line(str(n)), level="error" if n % 2 else "info", node="a") for n in range(6)]
    await journal.append(following("e1", *lines, epoch=TOKENS_PER_EPOCH, after=2))

    errors = LogFilter(levels=("error",))
    listed = await executions.logs(MARA, ExecutionId("e1"), LogFilter(), Page(limit=2, offset=3), most=2)
    assert ([line.message for line in listed.items], listed.total) == (["3", "4"], 6)
    following_page = Page(limit=2, cursor=listed.next_cursor, counts=False)
    last = await executions.logs(MARA, ExecutionId("e1"), LogFilter(), following_page, most=2)
    assert ([line.message for line in last.items], last.total, last.next_cursor) == (["5"], None, None)
    listed = await executions.logs(MARA, ExecutionId("e1"), errors, ALL, most=1000)
    assert ([line.message for line in listed.items], listed.total) == (["1", "3", "5"], 3)
    assert listed.items[0].node_id == "a"
    after = await executions.logs_after(MARA, ExecutionId("e1"), errors, after=listed.items[0].seq, until=99, limit=1)
    assert [line.message for line in after] == ["3"]
    with pytest.raises(NotFound):
        await executions.logs_after(OMAR, ExecutionId("e1"), LogFilter(), after=0, until=99, limit=9)


async def test_lines_of_an_execution_that_is_being_deleted_are_no_rest_of_its_log(
    executions: SqlExecutions, journal: SqlJournal, path: Place
) -> None:
    lines = [log_line(str(number)) for number in range(6)]
    await journal.append(following("e1", *lines, epoch=TOKENS_PER_EPOCH, after=2))
    rest = await executions.logs_after(MARA, ExecutionId("e1"), LogFilter(), after=4, until=99, limit=9)

    change(path, "DELETE FROM events WHERE execution_id = 'e1' AND seq < 6")

    assert [line.message for line in rest] == ["2", "3", "4", "5"]
    with pytest.raises(NotFound):
        await executions.logs_after(MARA, ExecutionId("e1"), LogFilter(), after=4, until=99, limit=9)


async def test_logs_have_the_same_total_on_each_page(executions: SqlExecutions, journal: SqlJournal) -> None:
    lines = [replace(log_line(str(n)), level="error" if n % 2 else "info", node="a") for n in range(6)]
    await journal.append(following("e1", *lines, epoch=TOKENS_PER_EPOCH, after=2))

    for wanted, numbers in ((LogFilter(), "012345"), (LogFilter(levels=("error",)), "135"), (LogFilter(text="7"), "")):
        for limit, offset, cursor in itertools.product((1, 3, 6, 9), (0, 2, 8), (None, "", "4")):
            page = Page(limit=limit, offset=0 if cursor else offset, cursor=cursor)
            listed = await executions.logs(MARA, ExecutionId("e1"), wanted, page, most=min(limit, 4))
            rest = [n for n in numbers if not cursor or int(n) > 1][page.offset :]
            assert [line.message for line in listed.items] == rest[: min(limit, 4)], (wanted, page)
            assert listed.total == len(numbers), (wanted, page)
            assert (listed.next_cursor is not None) == (len(rest) > limit), (wanted, page)


async def test_the_lines_of_a_step_are_its_own_and_those_of_the_steps_inside_it(
    executions: SqlExecutions, journal: SqlJournal
) -> None:
    steps = (
        *(Step("a", 1), Step("a", 2), Step("b", 1, "a.1[4]"), Step("b", 1, "a.1[4]/b.1[x]"), Step("b", 1, "a.10[4]")),
        *(Step("b", 1, "aa.1[4]"), Step("c", 1, "b.1[0]")),
    )
    lines = [
        replace(log_line(str(n)), node=step.node, iteration=step.iteration, scope=step.scope)
        for n, step in enumerate(steps)
    ]
    nobody = replace(log_line("nobody"), node=None)
    await journal.append(following("e1", *lines, nobody, epoch=TOKENS_PER_EPOCH, after=2))

    for step, numbers in (("a.1", "023"), ("a.2", "1"), ("a.1[4]/b.1", "23"), ("b.1", "6"), ("a", ""), ("a.1[4]", "")):
        listed = await executions.logs(MARA, ExecutionId("e1"), LogFilter(step=step), ALL, most=10)
        assert [line.message for line in listed.items] == list(numbers), step


async def test_a_line_is_found_by_a_text_in_any_case_and_any_script(
    executions: SqlExecutions, journal: SqlJournal
) -> None:
    messages = ("Ärger mit Öl", "ЗАКАЗ 5 обработан", "Plain text")
    await journal.append(following("e1", *map(log_line, messages), epoch=TOKENS_PER_EPOCH, after=2))

    for text, line in (("ärger MIT öL", 0), ("заказ 5 ОБРАБОТАН", 1), ("plain TEXT", 2)):
        listed = await executions.logs(MARA, ExecutionId("e1"), LogFilter(text=text), ALL, most=1000)
        assert [each.message for each in listed.items] == [messages[line]]
        assert listed.total == 1


async def test_of_a_long_error_a_list_reads_the_beginning(executions: SqlExecutions, journal: SqlJournal) -> None:
    failed = Failed(error=ErrorValue(type="x", message="é" * 200_000))
    await journal.append(following("e9", failed, epoch=TOKENS_PER_EPOCH, after=2))

    (first, *others) = (await executions.page(MARA, ExecutionFilter(), ALL)).items

    assert first.error == "é" * (LONGEST_LISTED_ERROR + 1)
    assert {other.error for other in others} == {None}
    assert (await executions.get(MARA, ExecutionId("e9"))).error == "é" * 200_000


NAME = '"é\\日 ' * 40  # 200 characters, with all that JSON writes differently


@pytest.mark.parametrize(
    ("status", "waits", "shown"),
    [
        # The form in which it is recorded, and further ones after the first wait.
        (Status.WAITING, [{"type": "approval", "node": "ask", "step": "ask.1", "until": None, "prompt": "é" * 99_999}],
         {"type": "approval", "node": "ask"}),
        (Status.WAITING, [{"type": "signal", "node": NAME, "step": f"{NAME}.1"}, {"type": "delay", "node": "later"}],
         {"type": "signal", "node": NAME}),
        # It may go on at any moment, and no list is told of that.
        (Status.RUNNING, [{"type": "delay", "node": "nap", "step": "nap.1"}], None),
        # As earlier versions have recorded it, and what node types may describe.
        (Status.WAITING, [{"node": "ask", "step": "ask.1", "until": None, "type": "approval"}], None),
        (Status.WAITING, [{"type": ["x"], "node": "ask", "step": "ask.1"}], None),
        (Status.WAITING, [{"type": "x" * 5000, "node": "ask", "step": "ask.1"}], None),
    ],
)  # fmt: skip
async def test_a_list_shows_the_node_at_which_an_execution_waits(
    executions: SqlExecutions, journal: SqlJournal, status: Status, waits: list[object], shown: object
) -> None:
    append = following("e9", log_line("x"), epoch=TOKENS_PER_EPOCH, after=2)
    summary = replace(append.summary, status=status, is_idle=True, waiting_for=msgspec.json.encode(waits))
    await journal.append(replace(append, summary=summary))

    (first, *others) = (await executions.page(MARA, ExecutionFilter(), ALL)).items
    ((_, summarized),) = await executions.summaries([ExecutionId("e9")])

    assert (None if first.waiting_at is None else msgspec.json.decode(first.waiting_at)) == shown
    assert summarized == first
    assert {other.waiting_at for other in others} == {None}
    assert (await executions.get(MARA, ExecutionId("e9"))).waiting_for == msgspec.json.encode(waits)


async def test_old_executions_are_purged_with_their_events_and_open_ones_stay(
    executions: SqlExecutions, database: Database, path: Place
) -> None:
    retention, purged = SqlRetention(database), []
    while (step := await retention.purge(ended_before=NOON + timedelta(hours=5), limit=2, unreported=())) != (0, False):
        purged.append(step)

    assert sum(count for count, _ in purged) == 3
    assert max(count for count, _ in purged) <= 2
    ids = [row[0] for row in rows_of(path, "SELECT id FROM executions ORDER BY id")]
    assert ids == ["e1", "e3", "e5", "e6", "e7", "e8", "e9", "omars"]
    assert rows_of(path, "SELECT DISTINCT execution_id FROM events ORDER BY 1") == [(id,) for id in ids]


async def test_a_long_execution_is_purged_in_several_commits_and_not_shown_meanwhile(
    executions: SqlExecutions, database: Database, journal: SqlJournal, path: Place
) -> None:
    lines = [log_line(str(n)) for n in range(7000)]
    await journal.append(following("e1", *lines, epoch=TOKENS_PER_EPOCH, after=2))
    await journal.append(completion("e1", epoch=TOKENS_PER_EPOCH, after=7002))
    left = []
    retention, has_more, purged = SqlRetention(database), True, 0
    while has_more:
        gone, has_more = await retention.purge(ended_before=NOON + timedelta(minutes=10), limit=10, unreported=())
        purged += gone
        left.append(rows_of(path, "SELECT count(*) FROM events WHERE execution_id = 'e1'")[0][0])
        if left[-1] == 7004:
            # The time of this commit went into e0.
            continue
        with pytest.raises(NotFound):
            await executions.get(MARA, ExecutionId("e1"))
        with pytest.raises(NotFound):
            await executions.logs(MARA, ExecutionId("e1"), LogFilter(), ALL, most=10)
        with pytest.raises(NotFound):
            await load_whole(journal, ExecutionId("e1"))
        assert bool(rows_of(path, "SELECT 1 FROM executions WHERE id = 'e1'")) == (left[-1] > 0)

    assert purged == 2, "e0 and e1"
    assert left[-1] == 0
    assert max(before - after for before, after in itertools.pairwise([7004, *left])) <= 2000


@pytest.mark.only("sqlite")
async def test_a_purge_gives_space_back_to_the_disk(database: Database, journal: SqlJournal, path: Path) -> None:
    epoch = await journal.claim()
    for n in range(40):
        await journal.append(creation(f"e{n}", epoch=epoch))
        await journal.append(completion(f"e{n}", epoch=epoch, result="x" * 100_000))
    retention = SqlRetention(database)
    pages = "PRAGMA page_count"
    full = rows_of(path, pages)[0][0]

    while (await retention.purge(ended_before=NOON + timedelta(days=1), limit=10, unreported=()))[1]:
        pass
    sizes, has_more = [full], True
    while has_more:
        has_more = await retention.give_space_back()
        sizes.append(rows_of(path, pages)[0][0])

    assert sizes[-1] < full / 10
    # In small parts, because other writes wait for each. Some pages go with those that are given back.
    assert max(before - after for before, after in pairwise(sizes)) <= 510
    await database.write(lambda tx: tx.row("SELECT 1"))
    assert rows_of(path, "PRAGMA integrity_check") == [("ok",)]
    await database.close()
    # The last connection to close has written everything into the file itself.
    assert await asyncio.to_thread(lambda: path.stat().st_size) < full * 4096 / 10
