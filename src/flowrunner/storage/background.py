"""Claims of background jobs, so that one of all processes on a database runs each of them."""

from dataclasses import dataclass
from typing import Final

from flowrunner.storage.database import Database
from flowrunner.storage.transaction import Statement

# The clock of the database decides, because the clocks of several machines differ. PostgreSQL's time of the transaction
# would be too early: the wait for the writers' lock comes after its beginning.
_NOW_IN_SQLITE: Final = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_NOW_IN_POSTGRES: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
# No claim lasts longer.
_LONGEST_LEASE: Final = 5 * 60 * 1000
# A last run in the future, or a claim for longer than any, shows that the clock was set back since. Neither counts
# then, or the job would rest until the clock has caught up, which may take years.
_PAUSED_UNTIL: Final = "CASE WHEN background_jobs.last_run_at > NOW THEN 0 ELSE background_jobs.not_before END"
_CLAIMED_UNTIL: Final = (
    "CASE WHEN background_jobs.claimed_until <= NOW + LONGEST THEN background_jobs.claimed_until ELSE 0 END"
)


def _by_clock(text: str) -> Statement:
    """Return the statement with the database's time in place of `NOW`, and what counts of a row's times."""
    text = text.replace("PAUSED_UNTIL", _PAUSED_UNTIL).replace("CLAIMED_UNTIL", _CLAIMED_UNTIL)
    text = text.replace("LONGEST", str(_LONGEST_LEASE))
    return Statement(sqlite=text.replace("NOW", _NOW_IN_SQLITE), postgres=text.replace("NOW", _NOW_IN_POSTGRES))


WAIT: Final = _by_clock(
    """
SELECT CASE WHEN claimed > paused THEN claimed ELSE paused END - NOW
  FROM (SELECT CLAIMED_UNTIL AS claimed, PAUSED_UNTIL AS paused FROM background_jobs WHERE name = :name) times
"""
)
# Changes nothing, and returns nothing, while another process holds the claim or the job is not due.
CLAIM: Final = _by_clock(
    """
INSERT INTO background_jobs (name, fencing_token, claimed_until) VALUES (:name, 1, NOW + :lease)
    ON CONFLICT (name) DO UPDATE
       SET fencing_token = background_jobs.fencing_token + 1, claimed_until = excluded.claimed_until
     WHERE PAUSED_UNTIL <= NOW AND CLAIMED_UNTIL <= NOW
RETURNING fencing_token, failures
"""
)
# A claim that has lapsed is never renewed: its holder may have given up the run already.
RENEW: Final = _by_clock(
    """
UPDATE background_jobs SET claimed_until = NOW + :lease
 WHERE name = :name AND fencing_token = :fencing_token AND claimed_until > NOW
"""
)
FINISH: Final = _by_clock(
    """
UPDATE background_jobs
   SET claimed_until = NULL, last_run_at = NOW, not_before = NOW + :wait, failures = :failures, last_error = :error
 WHERE name = :name AND fencing_token = :fencing_token
"""
)
RELEASE: Final = """
UPDATE background_jobs SET claimed_until = NULL WHERE name = :name AND fencing_token = :fencing_token
"""

_LONGEST_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class JobClaim:
    """The claim of a job by this process.

    Attributes:
        failures: Number of failed runs since the last one that succeeded.
    """

    name: str
    fencing_token: int
    failures: int


class SqlJobClaims:
    """The claims of all processes on one database. Times are counted by the clock of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seconds_until_free(self, name: str) -> float:
        """Return the seconds until the job may be claimed; 0 or less if it may be claimed now."""
        row = await self._database.read(lambda tx: tx.row(WAIT, {"name": name}))
        return 0.0 if row is None else int(row[0]) / 1000

    async def claim(self, name: str, *, seconds: float) -> JobClaim | None:
        """Claim the job for a time, if it is due and no other process holds it."""
        values = {"name": name, "lease": _to_ms(seconds)}
        row = await self._database.write(lambda tx: tx.row(CLAIM, values))
        return None if row is None else JobClaim(name, *row)

    async def renew(self, claim: JobClaim, *, seconds: float) -> bool:
        """Extend the claim; return False if it has lapsed."""
        values = {**_values(claim), "lease": _to_ms(seconds)}
        return await self._database.write(lambda tx: tx.run(RENEW, values)) == 1

    async def finish(self, claim: JobClaim, *, wait_seconds: float, error: str | None) -> None:
        """Record the end of a run, unless another process has claimed the job meanwhile.

        Args:
            wait_seconds: Time during which no process may run the job again.
            error: The reason why the run failed; None if it succeeded.
        """
        values = {
            **_values(claim),
            "wait": _to_ms(wait_seconds),
            "failures": 0 if error is None else claim.failures + 1,
            "error": None if error is None else error[:_LONGEST_ERROR],
        }
        await self._database.write(lambda tx: tx.run(FINISH, values))

    async def release(self, claim: JobClaim) -> None:
        """Give up the claim, so that another process may run the job at once."""
        await self._database.write(lambda tx: tx.run(RELEASE, _values(claim)))


def _values(claim: JobClaim) -> dict[str, object]:
    return {"name": claim.name, "fencing_token": claim.fencing_token}


def _to_ms(seconds: float) -> int:
    return round(seconds * 1000)
