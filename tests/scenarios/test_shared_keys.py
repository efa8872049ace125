"""Keys are replaced while several processes use them, from one directory or from copies of it."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import pytest

from support.client import Client
from support.fleet import Fleet
from support.flows import SENDS_A_SECRET
from support.postgres import query
from support.preloaded import run_forked
from support.receiver import Receiver
from support.server import Server, clean_environment
from support.waiting import wait_for

KINDS: Final = ["master", "data", "signing"]


def keys_of(server: Server) -> Path:
    return server.data_dir / "keys"


def copy_keys(source: Server, *others: Server) -> None:
    for other in others:
        for file in keys_of(source).glob("*.key"):
            shutil.copy(file, keys_of(other))


def rotations(admin: Client) -> dict[str, Any]:
    """The newest one of each kind."""
    listed = admin.get("/api/v1/keys/rotations", limit=100).json["rotations"]
    return {rotation["kind"]: rotation for rotation in reversed(listed)}


def master_and_data_are_replaced(admin: Client) -> bool:
    return all(rotation["status"] == "completed" for kind, rotation in rotations(admin).items() if kind != "signing")


def key_ids(fleet: Fleet) -> set[str]:
    return {id for (id,) in query(fleet.database, "SELECT DISTINCT master_key_id FROM data_keys")}


@pytest.mark.timeout(240)
def test_processes_with_one_directory_of_keys_go_over_to_new_ones_together(fleet: Fleet, receiver: Receiver) -> None:
    one = fleet.add().start()
    two, worker = fleet.add(), fleet.add("worker")
    for process in (two, worker):
        shutil.rmtree(keys_of(process))
        keys_of(process).symlink_to(keys_of(one))
        process.start()
    admin, other = one.admin(), two.client()
    other.token, other.account_id = admin.token, admin.account_id
    admin.new_secret("KEY", "the-value-of-before")
    flow_id = admin.new_flow(SENDS_A_SECRET.format(receiver=receiver.url))
    before = {file.read_text() for file in keys_of(one).glob("*.key")}
    master = key_ids(fleet)

    assert admin.post("/api/v1/keys/rotations", {"kinds": KINDS}).status == 202
    while not master_and_data_are_replaced(admin):
        # Whoever is asked, and whatever has been replaced by now.
        assert other.ended(other.run(flow_id))["status"] == "completed"
        assert two.client(one.admin().token).get("/api/v1/flows").status == 200
        assert one.client(two.admin().token).get("/api/v1/flows").status == 200
        time.sleep(0.1)

    wait_for(lambda: rotations(admin)["signing"]["needed_until"] is not None)
    assert len(key_ids(fleet)) == 1
    assert not key_ids(fleet) & master
    wait_for(lambda: not list(keys_of(one).glob("master.*.key")))
    assert not {(keys_of(one) / f"{kind}.key").read_text() for kind in ("master", "signing")} & before
    # A token of before counts on, and the worker opens what a server seals now.
    other.new_secret("KEY", "the-value-of-afterwards")
    assert admin.ended(admin.run(flow_id))["status"] == "completed"
    assert receiver.effects("/echo")[-1].body == "the-value-of-afterwards"
    # A process that starts with what is there now has all it needs.
    two.kill()
    assert two.start().client(admin.token).get("/api/v1/flows").status == 200


@pytest.mark.timeout(240)
def test_a_copy_of_the_directory_without_the_new_key_holds_a_rotation_up_and_breaks_nothing(
    fleet: Fleet, receiver: Receiver
) -> None:
    one, two = fleet.add().start(), fleet.add().start()
    worker = fleet.worker()
    admin = one.admin()
    admin.new_secret("KEY", "the-value-to-keep")
    flow_id = admin.new_flow(SENDS_A_SECRET.format(receiver=receiver.url))
    present, ids = (keys_of(one) / "master.key").read_text(), key_ids(fleet)
    assert admin.post("/api/v1/keys/rotations", {"kinds": ["master"]}).status == 202
    wait_for(lambda: "keys.waiting" in one.log)

    # It waits for as long as anybody is without the key, and all go on with the earlier one.
    copy_keys(one, two)
    wait_for(lambda: one.log.count("keys.waiting") > 3)
    assert rotations(admin)["master"]["status"] == "running"
    assert {(keys_of(s) / "master.key").read_text() for s in fleet.all} == {present}
    assert key_ids(fleet) == ids
    assert admin.ended(admin.run(flow_id))["status"] == "completed"

    copy_keys(one, worker)
    wait_for(lambda: master_and_data_are_replaced(admin), 120)
    wait_for(lambda: not any(list(keys_of(server).glob("master.*.key")) for server in fleet.all))
    new = {(keys_of(server) / "master.key").read_text() for server in fleet.all}
    assert len(new) == 1
    assert present not in new
    assert not key_ids(fleet) & ids
    assert admin.ended(admin.run(flow_id))["status"] == "completed"

    # What was left out of it cannot come back with the earlier key.
    worker.terminate()
    worker.wait()
    (keys_of(worker) / "master.key").write_text(present)
    assert worker.spawn().wait() == 1
    assert "The master key in the data directory is not the one" in worker.log


def test_keys_are_not_replaced_behind_the_back_of_processes_that_run(fleet: Fleet) -> None:
    server = fleet.add().start()
    server.admin().new_secret("KEY", "a value to keep")
    before = {file.name: file.read_text() for file in keys_of(server).glob("*.key")}
    wait_for(lambda: bool(query(fleet.database, "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%=%'")))

    refused = rotate_by_command(fleet, server)

    assert refused.returncode == 1
    assert "Servers or workers are running on the database" in refused.stderr
    assert {file.name: file.read_text() for file in keys_of(server).glob("*.key")} == before
    server.terminate()
    server.wait()
    done = rotate_by_command(fleet, server)
    assert (done.returncode, done.stdout) == (0, "master: replaced\n")


def rotate_by_command(fleet: Fleet, server: Server) -> "subprocess.CompletedProcess[str]":
    settings = {f"FLOWRUNNER_{name}": value for name, value in fleet.settings.items() if value is not None}
    command = ["-m", "flowrunner", "keys", "rotate", "master", "--data-dir", str(server.data_dir)]
    return run_forked(command, cwd=Path.cwd(), env=clean_environment(**settings))
