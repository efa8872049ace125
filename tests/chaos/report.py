"""What a campaign found, as figures: for people and as JSON."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

_KILLED: Final = ("server", "engine process", "worker", "PostgreSQL")


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Self | None:
        found = sorted(seconds)
        if not found:
            return None
        return cls(len(found), _quantile(found, 0.50), _quantile(found, 0.99), round(found[-1], 3))

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} s, p99 {self.p99:.1f} s, at most {self.most:.1f} s"


def _quantile(ordered: Sequence[float], share: float) -> float:
    return round(ordered[max(math.ceil(share * len(ordered)) - 1, 0)], 3)


@dataclass(slots=True)
class Struck:
    """What one kind of fault came to.

    Attributes:
        trials: How often it struck.
        in_pairs: How many of them together with another fault.
        with_work: How many of them while executions were under way.
        fine_after: From the beginning of the fault until all servers and workers did their parts again.
    """

    trials: int = 0
    in_pairs: int = 0
    with_work: int = 0
    fine_after: Times | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """One campaign on one installation.

    Attributes:
        pairs: How often two faults struck at once.
        accepted: Executions that a client was told of.
        ambiguous: Requests without an answer, or with one that leaves open whether it was done.
        executions: All that there are in the end, sub-flows too.
        lost: Accepted ones that are not there.
        stuck: Executions that had not ended when nothing disturbed them any more.
        repeated_nodes: Starts of nodes whose results were recorded.
        effects: Requests that the receiver got.
        repeated_effects: Those of them that brought a key that it had seen.
        foreign_keys: Those of them that brought no key, or one that is not of a recorded attempt.
        late_writes: Writes of servers that had been replaced, which were refused.
        outages: For how long no server was ready.
        resumed_after: From a fault until a step that it had cut off ran again.
        healed_after: From the last fault until everything had ended.
        violations: Everything that must not be, as sentences.
        ledgers: A digest of each.
    """

    installation: str
    version: str
    seed: int
    seconds: float = 0.0
    faults: dict[str, Struck] = field(default_factory=dict)
    pairs: int = 0
    accepted: int = 0
    ambiguous: int = 0
    executions: int = 0
    lost: int = 0
    stuck: int = 0
    repeated_nodes: int = 0
    effects: int = 0
    repeated_effects: int = 0
    foreign_keys: int = 0
    late_writes: int = 0
    outages: Times | None = None
    resumed_after: Times | None = None
    healed_after: float = 0.0
    violations: list[str] = field(default_factory=list)
    ledgers: dict[str, str] = field(default_factory=dict)

    def kills_of(self, whom: str) -> int:
        """Return the number of kills of one of these: `server`, `engine process`, `worker` or `PostgreSQL`."""
        return sum(
            struck.trials * (2 if "while it starts" in fault else 1)
            for fault, struck in self.faults.items()
            if _is_kill_of(fault, whom)
        )

    @property
    def kills(self) -> int:
        return sum(map(self.kills_of, _KILLED))

    @property
    def share_with_work(self) -> float:
        """Of the faults, those that struck while executions were under way. The others show little."""
        struck = self.faults.values()
        return sum(one.with_work for one in struck) / max(sum(one.trials for one in struck), 1)

    def as_json(self) -> dict[str, Any]:
        kills = {whom: self.kills_of(whom) for whom in _KILLED}
        return asdict(self) | {"kills": kills}

    def __str__(self) -> str:
        lines = [
            f"{self.installation}, version {self.version}, seed {self.seed}: {self.seconds:.0f} s",
            f"  {self.kills} kills: {self.kills_of('server')} of servers, {self.kills_of('engine process')} of engine "
            f"processes, {self.kills_of('worker')} of workers, {self.kills_of('PostgreSQL')} of PostgreSQL; "
            f"two faults at once {self.pairs} times",
            f"  {self.accepted} accepted, {self.ambiguous} without a clear answer, {self.executions} executions: "
            f"{self.lost} lost, {self.stuck} stuck, {self.repeated_nodes} recorded nodes repeated",
            f"  {self.effects} effects, {self.repeated_effects} of them repeats of steps that were cut off, "
            f"{self.foreign_keys} with another key; {self.late_writes} late writes, all refused",
            f"  steps that were cut off ran again after: {self.resumed_after or 'there were none'}",
            f"  no server ready for: {self.outages or 'never'}",
            f"  all had ended {self.healed_after:.1f} s after the last fault",
        ]
        for fault, struck in sorted(self.faults.items()):
            lines.append(
                f"    {fault}: {struck.trials} times, {struck.in_pairs} beside another fault, {struck.with_work} with "
                f"executions under way; all fine after: {struck.fine_after}"
            )
        lines += [f"  VIOLATION: {violation}" for violation in self.violations[:50]]
        if len(self.violations) > 50:
            lines.append(f"  and {len(self.violations) - 50} more violations")
        return "\n".join(lines)


def _is_kill_of(fault: str, whom: str) -> bool:
    if fault.startswith("slow_close"):
        # Is done by a kill.
        return whom == "server"
    return (fault.startswith(f"{whom} killed")) or (fault == "PostgreSQL killed during a recovery" and whom == "server")


def digest(ledger: object) -> str:
    return hashlib.sha256(json.dumps(ledger, sort_keys=True, default=sorted).encode()).hexdigest()
