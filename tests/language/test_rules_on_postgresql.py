"""Rules of the flow language with the journal on PostgreSQL."""

import pytest

from flowrunner.ports.sandbox import Sandbox
from language.backend import local
from language.rule_runs import RULE_RUNS, RuleRun, each_of, faults_of, one_of_each_rule
from support.conformance import WHOLE, part_of
from support.databases import emptied_postgres_database
from support.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@each_of(RULE_RUNS if WHOLE else part_of(((run.case.rule, run) for run in one_of_each_rule(RULE_RUNS)), parts=6))
async def test_the_rule_holds_on_postgresql(run: RuleRun, postgres: PostgresServer, sandbox: Sandbox) -> None:
    assert not await faults_of(run, local(emptied_postgres_database(postgres)), sandbox)
