"""Migrations to the schema that this program expects.

Alembic is imported only to run migrations, because the import alone takes longer than a start.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.errors import FlowRunnerError

# The revisions that this version knows, in order: Alembic reads the same files. Revisions compare as text.
REVISIONS: Final = tuple(sorted(file.name[:4] for file in Path(__file__).parent.glob("versions/[0-9]*.py")))
HEAD: Final = REVISIONS[-1]
COMPATIBLE_WITH: Final = "SELECT compatible_with FROM engine"


class UnknownSchema(FlowRunnerError):
    """A database with a schema that this version can neither use nor migrate; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database.

    Attributes:
        revision: The last migration that was applied; None if there is no schema yet.
        compatible_with: For a newer revision: the oldest one whose programs can use the database.
    """

    revision: str | None
    compatible_with: str | None = None

    @property
    def is_usable(self) -> bool:
        """Return whether this version can use the database without a migration."""
        return self.revision == HEAD or (self.compatible_with is not None and self.compatible_with <= HEAD)

    @property
    def is_obsolete(self) -> bool:
        """Return whether the schema is older than all that this version can migrate."""
        return self.revision is not None and self.revision < REVISIONS[0]

    @property
    def is_newer(self) -> bool:
        return self.revision is not None and self.revision not in REVISIONS and not self.is_obsolete

    def check_can_migrate(self, name: str) -> None:
        """Raise UnknownSchema if no migration leads from this schema to the newest one.

        Args:
            name: The database, for the message.
        """
        if self.is_obsolete:
            raise UnknownSchema(
                f"{name} has the schema '{self.revision}' of a version before the first release, which this version "
                "can neither use nor migrate. Read your flows from it with the version that made it "
                "(GET /api/v1/flows); then start this version with another data directory, or another database, and "
                "save them there"
            )
        if self.is_newer:
            raise UnknownSchema(
                f"{name} has the schema '{self.revision}', which this version does not know: "
                "start the version of FlowRunner that wrote it, or a newer one"
            )


class UnusableDatabase(FlowRunnerError):
    """A file or database that is damaged, cannot be written, or is not FlowRunner's; the message says what to do."""


def alembic_config() -> Any:
    """Return Alembic's `Config` with the directory of the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
