"""The same rules where the journal is on a PostgreSQL server."""

import pytest

from flowrunner.ports import Sandbox
from language.backend import local
from language.rule_runs import PLAYS, Play, each_of, faults_of, one_of_each_rule
from support.conformance import WHOLE
from support.databases import emptied_postgres_database
from support.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@each_of(PLAYS if WHOLE else one_of_each_rule(PLAYS))
async def test_the_rule_holds_on_postgresql(play: Play, postgres: PostgresServer, sandbox: Sandbox) -> None:
    assert not await faults_of(play, local(emptied_postgres_database(postgres)), sandbox)
