"""Every SQLite database is migrated to the newest schema, or stays unchanged."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flowrunner.bootstrap.stored_flows import check_stored_flows
from flowrunner.local.language import open_language
from flowrunner.settings import Settings
from flowrunner.storage import migrations
from flowrunner.storage.migrations import HEAD, REVISIONS, UnknownSchema
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from support.conformance import some_of
from support.databases import contents_of, rows_of


class Halted(Exception):
    """Any error of a statement."""


TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return ScriptDirectory.from_config(config)


def test_the_program_knows_the_newest_schema() -> None:
    assert scripts().get_current_head() == HEAD


def test_a_new_database_gets_the_newest_schema(tmp_path: Path) -> None:
    path = tmp_path / "new.db"

    migrate_sqlite(path)

    assert rows_of(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert rows_of(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows_of(path, "PRAGMA auto_vacuum") == [(2,)]


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate_sqlite(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE engine SET epoch = 7")
    before = contents_of(path)

    migrate_sqlite(path)

    assert contents_of(path) == before


def test_a_database_of_a_later_version_is_rejected_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate_sqlite(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE engine SET compatible_with = '9998'")
    before = contents_of(path)

    with pytest.raises(UnknownSchema, match="9999"):
        migrate_sqlite(path)

    assert contents_of(path) == before


def test_a_database_of_a_version_before_the_first_release_is_rejected_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);"
            "INSERT INTO alembic_version VALUES ('0001');"
            "CREATE TABLE engine (only INTEGER PRIMARY KEY, epoch INTEGER, compatible_with TEXT DEFAULT '0001');"
            "INSERT INTO engine (only, epoch) VALUES (1, 0);"
        )
    before = contents_of(path)

    with pytest.raises(UnknownSchema, match=r"schema '0001' of a version before the first release.* another data dir"):
        migrate_sqlite(path)

    assert contents_of(path) == before


async def test_the_flows_in_a_database_that_cannot_be_upgraded_are_not_checked(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "flowrunner.db")) as connection, connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);"
            "INSERT INTO alembic_version VALUES ('0001');"
            "CREATE TABLE flows (id TEXT PRIMARY KEY);"
        )
    async with open_language(before_scripts=lambda: None) as language:
        with pytest.raises(UnknownSchema, match="before the first release"):
            _ = [flow async for flow in check_stored_flows(Settings(data_dir=tmp_path), language)]


# Databases exist that this migration made, and no later start runs it on them again: an edit would change new databases
# only, and the two would differ. Make a new migration instead.
FROZEN = {
    "0002": ("0002_foundation.py", "e5aa598d97131576cc3de32d9d4178f46813117553083476395e9a1fb05f6210"),
    "0003": ("0003_background_jobs.py", "7fdf632582e6e2217215b63a1833cd61501cebb5d520aeeca313dad6278ea8e3"),
    "0004": ("0004_workspaces.py", "af0fdb1becaf79a0b1631c74fabb46c2c502f798dfda871a29cbc996a552835a"),
    "0005": ("0005_approvals.py", "c66627efd2b1c9d068987e08c5e022fad7b8a0bac60c46ca7f6c2090303c0119"),
    "0006": ("0006_flow_moves.py", "f95491b9751a0630ef4999b1d43165b5e90bbf7751b4c4fb95566695e3ff0d5f"),
    "0007": ("0007_deployment.py", "b99f9bb3e61f3f3e2d427eeef5b6e43f6dc251a6b75978861ce5d9d80b363edf"),
    "0008": ("0008_listed_executions.py", "48ba3c93cca1de7e5053c4fe24e258a8176d116c5ae4f96d792a4586d0443f6b"),
    "0009": ("0009_jobs.py", "2844e7edc0448d788875e678604108849d7abfb8558f9e2cc0322c4c4fbd3049"),
    "0010": ("0010_triggers.py", "f58523ec6d1910f98dd4edb4a1030d93e6330a6f8a6e493757f998e5e488aed3"),
    "0011": ("0011_callbacks.py", "04a8d61ec4c645518ae7eb0e6912aad7ae5e0cba0654e60458956937205c4d74"),
    "0012": ("0012_counted_executions.py", "877b7d60b743431667fe0a8653dcca842986c4025ec1a67d113c28316d59a362"),
    "0013": ("0013_request_keys.py", "210473061c6b98e20700836db1d1b550e68498f399cb46c18bbfcb36a9c354b9"),
    "0014": ("0014_used_secrets.py", "8af89f7362a701e84f85801061c49f7b8b671a4914a6c6e1bc9aa7e162f32bd8"),
    "0015": ("0015_hook_deliveries.py", "30ec074bd6a4210e54ee12f5a97b256f529f865d8857844d14bbb59cfc2726f8"),
    "0016": ("0016_sessions.py", "217e60cfa4e0737df74be3e1f9bb7da321251074ca0c5187af5cf05e8752037d"),
    "0017": ("0017_sign_on.py", "d41fadc18bda567376b39bbb676b59c0952ca9259a271a5595f2f70c0539b007"),
    "0018": ("0018_retention.py", "6b0a8768971537c3989a185fe394d84963583a390d17fd43f121441a28a656ea"),
    "0019": ("0019_execution_terms.py", "3bd59d59f69efa8438334150d6aaa02a85928c9512594f0ed27805e5b5193d78"),
    "0020": ("0020_invitations.py", "716fd86cf0489035f8ab2924f8d3f2e8cf8477ac67cb9a461a576cfe36f65657"),
    "0021": ("0021_flow_tools.py", "d6310fa5f555a471bd4c780a5e76ac61b152da2ee1e98b0b42f40abc32fee6c7"),
    "0022": ("0022_cheaper_event_guard.py", "a3d3d0d97949d3d9a2cd36e5e46208d5244d3fec48de11fa1abfaa6bc184a94a"),
    "0023": ("0023_outgoing_mails.py", "84d6648c1512c13e273aff6f89514ac76326476064c065e24221664df580f48d"),
    "0024": ("0024_compact_events.py", "255db32a23a7e1e173f21bf893d7b6f91e517bb718950ce2922f674bf6e8baf0"),
    "0025": ("0025_confirmed_addresses.py", "9d99d250a6fd108a5308d642c32f59f84889aa9cc4cbbc8be8f9e904bbaa4254"),
    "0026": ("0026_fewer_list_indexes.py", "eca6810c5d39f144426a64bb13fdcc4b519b745aa3cee3459ad709189be1599d"),
    "0027": ("0027_flows_by_change.py", "8ec7bc968a570f502776d2ded0043b83cf7641dcb147cf89b2ab482786479f50"),
    "0028": ("0028_who_started.py", "a938abeffc0e65815252ea422e5f0aa9b15d179c616be562fcf9fe191ccdca79"),
    "0029": ("0029_counted_acts.py", "04f4e7f044cc992da7b3503b51386a50329c25c6d53afd7df185f46caa9fb650"),
    "0030": ("0030_unstarted_requests.py", "d97a9964e404e48333772398908622eacd0a67cb2c2cae1ecf6077f54ea2e3f6"),
    "0031": ("0031_audit_without_times.py", "1318dd09691ee339d07a3805e8ac3c0df41d83d258d92c7f551e1ac088da0c2d"),
    "0032": ("0032_usage_in_blocks.py", "7bce5ad454eb08805b893e24a9dfafc405a2f01ec7538b2a304b2db0f3791284"),
    "0033": ("0033_counted_deliveries.py", "6114f45450717dc6f51ddc2b8157bf06221f5b2db2ba968a447df40f634619f5"),
    "0034": ("0034_bounded_accounts.py", "0e26cad244faf993b21a91ca3796c84620a4f710026b3dcaed4f0bd5a31afc4a"),
    "0035": ("0035_usage_by_statement.py", "e5d8087c74a7c332eca79e692519e53a4084b7ff8ec5dc276d261d871c9dee0e"),
    "0036": ("0036_config_values.py", "7c21d8fafeec4e30ef6f3eb45b0553547102c46e9a258cb55b31c7ae98220677"),
    "0037": ("0037_store.py", "79272668b88ddf36f9abccaac5667c1acbe21cdf154fdaee445d461d05901462"),
    "0038": ("0038_listed_children.py", "9ed0013439e93529a6c26190a78097b7eaf02cb6ff514f1c7420070fe5f2b048"),
}


def test_the_files_of_the_migrations_are_named_by_their_revisions() -> None:
    assert tuple(reversed([script.revision for script in scripts().walk_revisions()])) == REVISIONS


def test_a_migration_that_was_released_never_changes() -> None:
    for revision, (name, digest) in FROZEN.items():
        migration = scripts().get_revision(revision).module
        statements = f"{migration.SQLITE}\0{migration.POSTGRES}"
        assert hashlib.sha256(statements.encode()).hexdigest() == digest, f"{name} is frozen: make a new migration"


def test_a_migration_that_fails_at_a_statement_leaves_nothing_behind(tmp_path: Path) -> None:
    for n in some_of(killed_at(tmp_path, ())):
        path = tmp_path / f"failed-{n}.db"
        count = 0

        def fail(*args: object, until: int = n) -> None:
            nonlocal count
            count += 1
            if count == until:
                raise Halted

        event.listen(Engine, "before_cursor_execute", fail)
        try:
            with pytest.raises(Halted):
                migrate_sqlite(path)
        finally:
            event.remove(Engine, "before_cursor_execute", fail)
        assert rows_of(path, TABLES) == [(0,)], f"after statement {n}"
        migrate_sqlite(path)
        assert rows_of(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


# Runs the migration in child processes that exit before the statements whose numbers are given; then prints how many
# there are.
KILLED = """
import os, sys
from pathlib import Path
from alembic import command
from sqlalchemy import event
from sqlalchemy.engine import Engine
from flowrunner.storage.sqlite.migrations import migrate_sqlite

directory = Path(sys.argv[1])
for n in (*map(int, sys.argv[2:]), 0):
    child = os.fork()
    if child == 0:
        done = 0
        def end(*args):
            global done
            done += 1
            if done == n:
                os._exit(9)
        event.listen(Engine, "before_cursor_execute", end)
        migrate_sqlite(directory / f"{n}.db")
        if n == 0:
            print(done, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def killed_at(directory: Path, statements: Sequence[int]) -> int:
    """Kill a migration before each of the statements; return how many statements it has."""
    script = [sys.executable, "-c", KILLED, str(directory), *map(str, statements)]
    return int(subprocess.run(script, capture_output=True, text=True, check=True, env=os.environ).stdout)


def test_a_migration_that_is_killed_at_a_statement_is_finished_by_the_next_start(tmp_path: Path) -> None:
    chosen = some_of(killed_at(tmp_path, ()))

    killed_at(tmp_path, chosen)

    for n in chosen:
        path = tmp_path / f"{n}.db"
        assert rows_of(path, TABLES) == [(0,)], f"killed before statement {n}"
        migrate_sqlite(path)
        assert rows_of(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
        assert rows_of(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_later_schema_that_only_adds_is_used_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate_sqlite(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = contents_of(path)

    migrate_sqlite(path)

    assert contents_of(path) == before
