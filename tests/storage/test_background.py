"""Claims of background jobs: one holder at a time, by the clock of the database."""

from flowrunner.storage.background import JobClaim, SqlJobClaims
from flowrunner.storage.database import Database
from support.databases import Place, change, open_database, rows_of

JOB = "retention"
YEAR = 366 * 24 * 3600 * 1000
ROW = "SELECT claimed_until, last_run_at, failures, last_error FROM background_jobs"


async def claimed(claims: SqlJobClaims, seconds: float = 60.0) -> JobClaim:
    claim = await claims.claim(JOB, seconds=seconds)
    assert claim is not None
    return claim


def let_it_lapse(path: Place) -> None:
    change(path, "UPDATE background_jobs SET claimed_until = 1")


async def test_a_job_that_never_ran_is_free(database: Database) -> None:
    claims = SqlJobClaims(database)

    assert await claims.seconds_until_free(JOB) == 0.0
    assert await claimed(claims) == JobClaim(JOB, 1, 0)


async def test_one_of_two_processes_holds_a_job(path: Place, database: Database) -> None:
    claims, others = SqlJobClaims(database), SqlJobClaims(other := open_database(path))
    await claimed(claims, 60.0)

    assert await others.claim(JOB, seconds=60.0) is None
    assert 50.0 < await others.seconds_until_free(JOB) <= 60.0
    assert await others.claim("another job", seconds=60.0) is not None
    await other.close()


async def test_a_finished_job_is_free_after_its_pause(path: Place, database: Database) -> None:
    claims = SqlJobClaims(database)

    await claims.finish(await claimed(claims), wait_seconds=100.0, error=None)

    assert await claims.claim(JOB, seconds=60.0) is None
    assert 90.0 < await claims.seconds_until_free(JOB) <= 100.0
    ((claimed_until, last_run_at, failures, error),) = rows_of(path, ROW)
    assert (claimed_until, failures, error) == (None, 0, None)
    assert last_run_at > 0
    change(path, "UPDATE background_jobs SET not_before = 1")
    assert (await claimed(claims)).fencing_token == 2


async def test_failures_are_counted_across_processes_until_a_run_succeeds(path: Place, database: Database) -> None:
    claims = SqlJobClaims(database)
    for number in range(2):
        claim = await claimed(claims)
        assert claim.failures == number
        await claims.finish(claim, wait_seconds=0.0, error="OSError: " + "x" * 1000)

    ((_, _, failures, error),) = rows_of(path, ROW)
    assert failures == 2
    assert error == ("OSError: " + "x" * 1000)[:500]
    await claims.finish(await claimed(claims), wait_seconds=0.0, error=None)
    assert [row[2:] for row in rows_of(path, ROW)] == [(0, None)]


async def test_a_claim_that_has_lapsed_is_taken_over_and_its_first_holder_records_nothing(
    path: Place, database: Database
) -> None:
    claims = SqlJobClaims(database)
    first = await claimed(claims)
    let_it_lapse(path)

    second = await claimed(claims)

    before = rows_of(path, ROW)
    assert second.fencing_token > first.fencing_token
    assert not await claims.renew(first, seconds=60.0)
    await claims.finish(first, wait_seconds=0.0, error="late")
    await claims.release(first)
    assert rows_of(path, ROW) == before
    assert await claims.renew(second, seconds=60.0)


async def test_a_renewed_claim_lasts_longer(database: Database) -> None:
    claims = SqlJobClaims(database)
    claim = await claimed(claims, 10.0)

    assert await claims.renew(claim, seconds=100.0)

    assert 90.0 < await claims.seconds_until_free(JOB) <= 100.0


async def test_a_claim_that_has_lapsed_is_not_renewed_although_no_other_process_took_it(
    path: Place, database: Database
) -> None:
    claims = SqlJobClaims(database)
    claim = await claimed(claims)
    let_it_lapse(path)

    assert not await claims.renew(claim, seconds=60.0)


async def test_a_finished_job_does_not_rest_until_a_clock_that_was_set_back_has_caught_up(
    path: Place, database: Database
) -> None:
    claims = SqlJobClaims(database)
    await claims.finish(await claimed(claims), wait_seconds=100.0, error=None)

    change(path, f"UPDATE background_jobs SET not_before = not_before + {YEAR}, last_run_at = last_run_at + {YEAR}")

    assert await claims.seconds_until_free(JOB) <= 0.0
    await claims.finish(await claimed(claims), wait_seconds=100.0, error=None)
    assert 90.0 < await claims.seconds_until_free(JOB) <= 100.0


async def test_a_claim_from_before_the_clock_was_set_back_has_lapsed(path: Place, database: Database) -> None:
    claims = SqlJobClaims(database)
    first = await claimed(claims)

    change(path, f"UPDATE background_jobs SET claimed_until = claimed_until + {YEAR}")

    assert await claims.seconds_until_free(JOB) <= 0.0
    assert (await claimed(claims)).fencing_token > first.fencing_token
    assert not await claims.renew(first, seconds=60.0)


async def test_a_released_job_is_free_at_once(database: Database) -> None:
    claims = SqlJobClaims(database)

    await claims.release(await claimed(claims))

    assert (await claimed(claims)).fencing_token == 2
