"""Jobs that the command line follows, as the server answers them."""

import json
from datetime import UTC, datetime

import click
import msgspec
import pytest

from client.scripted import answer, error, hang_up, scripted
from flowrunner.api.jobs import JobAnswer
from flowrunner.cli import jobs, outages
from flowrunner.cli.bulk import required
from flowrunner.cli.common import CommandFailed
from flowrunner.cli.jobs import follow_job
from flowrunner.cli.shared_options import labels_of
from flowrunner.client import Client
from flowrunner.domain.jobs import Job, JobError, JobStatus
from flowrunner.domain.values import AccountId, JobId, WorkspaceId

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_job_that_could_not_go_on_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(
        id=JobId("job-1"), workspace_id=WorkspaceId("w"), account_id=AccountId("a"), type="executions.cancel",
        status=JobStatus.FAILED, total=2, created_at=NOON, completed_at=NOON, done=1,
        errors=(JobError(None, "Your role is viewer"), JobError("exec-1", "It has ended")),
    )  # fmt: skip
    answered = json.loads(msgspec.json.encode(JobAnswer.of(job)))
    # Nothing listens there: a job that has ended is not asked for again.
    with click.Context(click.Command("cancel")), Client("http://127.0.0.1:1") as client:
        code = follow_job(client, answered)

    assert code == 1
    assert capsys.readouterr().err.splitlines() == ["Your role is viewer", "exec-1: It has ended"]


def test_a_job_is_followed_across_a_restart_of_the_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "_AGAIN_SECONDS", 0.0)
    job = {"id": "job-1", "status": "running", "errors": [], "failed": 0}
    steps = hang_up, error(503, "unavailable"), answer(200, job), hang_up, answer(200, {**job, "status": "completed"})
    with (
        scripted(*steps) as server,
        click.Context(click.Command("cancel")),
        Client(server.url, retry_seconds=0) as client,
    ):
        code = follow_job(client, job)

    assert code == 0
    assert capsys.readouterr().err.count("The job continues when the server is back; waiting for it") == 2


def test_a_server_that_stays_away_is_not_waited_for_beyond_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_AWAY_SECONDS", 0.0)
    monkeypatch.setattr(outages, "_AGAIN_SECONDS", 0.0)
    with (
        scripted(hang_up, hang_up) as server,
        click.Context(click.Command("cancel")),
        Client(server.url, retry_seconds=0) as client,
        pytest.raises(CommandFailed, match=r"The job continues .*: flowrunner job watch job-1") as raised,
    ):
        follow_job(client, {"id": "job-1", "status": "running"})

    assert raised.value.exit_code == 7


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_job_that_a_pause_holds_up_says_so_once_and_any_other_says_nothing(
    is_paused: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.0)
    job = {"id": "job-1", "status": "running", "errors": [], "failed": 0}
    running, ended = answer(200, job), answer(200, {**job, "status": "completed"})
    steps = *(running,) * 4, answer(200, {"paused": is_paused}), running, running, ended
    with scripted(*steps) as server, click.Context(click.Command("cancel")), Client(server.url) as client:
        assert follow_job(client, job) == 0

    assert capsys.readouterr().err.count("the installation is paused") == is_paused


@pytest.mark.parametrize(("ids", "selected"), [([], {}), (["exec-1"], {"status": "failed"})])
def test_executions_are_named_or_selected_and_not_both(ids: list[str], selected: dict[str, str]) -> None:
    with pytest.raises(click.UsageError, match="one of the two"):
        required(ids, selected)
    required(["exec-1"], {})
    required([], {"status": "failed"})


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("team=core", "team", "core"), ("team:core", "team", "core"), ("url=http://a:1/?b=c", "url", "http://a:1/?b=c"),
        ("at:12:30", "at", "12:30"), ("none=", "none", ""),
    ],
)  # fmt: skip
def test_a_label_is_cut_at_its_first_mark(given: str, name: str, value: str) -> None:
    assert labels_of([given]) == {name: value}
