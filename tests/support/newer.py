"""A newer version of the program: this one, with a migration more."""

from typing import Final

from flowrunner.storage.migrations import HEAD

# The revision of its schema.
NEWER: Final = f"{int(HEAD) + 1:04}"
# What it does to the database, as SQL of either dialect: it adds only, and says so by saying nothing else.
EXPAND: Final = (
    "ALTER TABLE executions ADD COLUMN origin text NOT NULL DEFAULT 'here'",
    "CREATE TABLE origins (name text PRIMARY KEY)",
)
# It takes away what earlier versions use.
CONTRACT: Final = (*EXPAND, f"UPDATE engine SET compatible_with = '{NEWER}'")

_PROGRAM: Final = """
import atexit, pathlib, shutil, tempfile
import flowrunner.storage.migrations as migrations
directory = tempfile.mkdtemp()
atexit.register(shutil.rmtree, directory, True)
scripts = pathlib.Path(directory) / "migrations"
shutil.copytree(pathlib.Path(migrations.__file__).parent, scripts)
(scripts / "versions" / "{newer}_newer.py").write_text('''
from alembic import op
revision = "{newer}"
down_revision = "{head}"
def upgrade():
    for statement in {statements!r}:
        op.execute(statement)
''')
def config(usual=migrations.alembic_config):
    made = usual()
    made.set_main_option("script_location", str(scripts))
    return made
migrations.alembic_config = config
migrations.REVISIONS, migrations.HEAD = (*migrations.REVISIONS, "{newer}"), "{newer}"
from flowrunner.cli.main import main
main()
"""


def newer(statements: tuple[str, ...] = EXPAND) -> tuple[str, str]:
    """Return what the interpreter is given to run such a version."""
    return "-c", _PROGRAM.format(statements=statements, newer=NEWER, head=HEAD)
