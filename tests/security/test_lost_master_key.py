"""A lost master key: the way out that docs/backup.md describes."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from support.server import Server

DOCS: Final = Path(__file__).parents[2] / "docs" / "backup.md"


def test_with_a_new_master_key_what_was_sealed_is_given_again(tmp_path: Path) -> None:
    statements = re.findall(r"^DELETE FROM .+;$", DOCS.read_text(), re.MULTILINE)
    server = Server(tmp_path)
    try:
        admin = server.start().admin()
        admin.new_secret("KEY", "a value of some length")
        callback = {"url": "https://example.com/one", "events": ["execution.failed"]}
        id = admin.post("/api/v1/callbacks", callback).json["id"]
        server.terminate()
        assert server.wait() == 0
        (server.data_dir / "keys" / "master.key").write_text(os.urandom(32).hex())
        with closing(sqlite3.connect(server.database)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            for statement in statements:
                connection.execute(statement)
            connection.commit()

        admin = server.start().admin()
        admin.new_secret("KEY", "another value of some length")
        assert admin.delete(f"/api/v1/callbacks/{id}").status == 200
        assert admin.post("/api/v1/callbacks", callback).status == 201
    finally:
        server.stop()
