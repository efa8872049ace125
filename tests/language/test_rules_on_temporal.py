"""Rules of the flow language with executions that Temporal assigns to workers."""

from uuid import uuid4

import pytest

from flowrunner.ports.sandbox import Sandbox
from language.distributed import distributed
from language.rule_runs import RULE_RUNS, RuleRun, each_of, faults_of, one_of_each_directory
from support.conformance import WHOLE, part_of
from support.databases import emptied_postgres_database
from support.postgres import PostgresServer
from support.temporal import Temporal

pytestmark = pytest.mark.asyncio(loop_scope="module")


@each_of(RULE_RUNS if WHOLE else part_of((run.directory, run) for run in one_of_each_directory(RULE_RUNS)))
async def test_the_rule_holds_on_temporal(
    run: RuleRun, postgres: PostgresServer, temporal: Temporal, sandbox: Sandbox
) -> None:
    backend = distributed(emptied_postgres_database(postgres), temporal.url(f"rules-{uuid4()}"))

    assert not await faults_of(run, backend, sandbox)
