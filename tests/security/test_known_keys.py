"""Keys of an installation after a restart: what each one in the directory has sealed or signed is opened."""

from pathlib import Path

import pytest

from bootstrap.test_assembly import parts_of
from flowrunner.security.keys import MASTER, SIGNING, KeyRing, key_id, next_key, put_in_place, read_keys
from support.asgi import program_at


@pytest.mark.parametrize("kind", [MASTER, SIGNING])
@pytest.mark.parametrize("replaced", [0, 2])
@pytest.mark.parametrize("is_next_there", [False, True])
async def test_a_program_knows_each_key_in_its_directory_and_uses_the_present_one(
    tmp_path: Path, kind: str, replaced: int, is_next_there: bool
) -> None:
    async with program_at(tmp_path):
        """Make the first keys."""
    for _ in range(replaced):
        put_in_place(tmp_path, kind, key_id(kind, next_key(tmp_path, kind)))
    if is_next_there:
        next_key(tmp_path, kind)
    there = {key_id(kind, key) for key in read_keys(tmp_path, kind)}
    present = key_id(kind, bytes.fromhex((tmp_path / "keys" / f"{kind}.key").read_text()))

    async with program_at(tmp_path) as program:
        rings = {id(part): part for _, part in parts_of(program) if isinstance(part, KeyRing)}.values()
        known = [(ring.ids, ring.id) for ring in rings if key_id(kind, ring.present) == ring.id]

    assert len(there) == 1 + replaced + is_next_there
    assert known == [(there, present)]
