"""The metrics in docs/telemetry.md and the log events in docs/operations.md, compared with the code."""

import re
from collections.abc import Callable
from dataclasses import fields

from docs.pages import LIMITS, OPERATIONS, ROOT, TELEMETRY, code_of_calls, first_words, rows, section
from flowrunner.api.http import bodies
from flowrunner.settings import Settings
from support.server import Server


def test_every_metric_is_described_and_no_other(server: Server) -> None:
    text = server.client().get("/metrics").body.decode()
    counted = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))

    # The library adds the start time of each, and this server is without Temporal.
    counted = {name for name in counted if not name.endswith("_created")} | {"flowrunner_temporal_reachable"}
    assert set(first_words(section(TELEMETRY, "Metrics"))) == counted


def test_the_background_jobs_are_the_ones_that_there_are() -> None:
    listed = first_words(section(OPERATIONS, "Background jobs"))

    assert sorted(listed) == sorted(code_of_calls({"Background", "job"}, r"[a-z_.]+") - {"one", "each"})


def test_the_limits_have_the_values_of_their_settings() -> None:
    known = {setting.name: setting for setting in fields(Settings)}
    said = {row[2].strip("`"): row[1] for row in rows(LIMITS.read_text()) if row[2].startswith("`")}

    assert {name for name in known if name.startswith(("account_", "anonymous_", "workspace_", "hook_"))} <= said.keys()
    for name, value in said.items():
        number = value.partition(" in ")[0].replace(",", "").replace(" ", "")
        assert known[name].metadata["parse"](number) == known[name].default, name
    cannot_be_removed = set(re.findall(r"`(\w+)`", LIMITS.read_text().partition("except for")[2].partition(". ")[0]))
    assert cannot_be_removed == {name for name in said if not accepts_0(known[name].metadata["parse"])}


def accepts_0(parse: Callable[[str], object]) -> bool:
    try:
        return parse("0") is None
    except ValueError:
        return False


def test_the_limits_of_bodies_are_the_ones_in_force() -> None:
    (said,) = [row[1] for row in rows(LIMITS.read_text()) if row[0].startswith("body of another request")]
    sizes = (bodies.MAX_BODY_BYTES, bodies.MAX_FLOW_BODY_BYTES, bodies.MAX_BATCH_BODY_BYTES)

    assert said == "; ".join(f"{size // 2**20} MiB" for size in sizes)


def test_the_events_to_watch_for_are_in_the_log() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    events = first_words(section(OPERATIONS, "Watching"))

    assert len(events) > 10
    assert [event for event in events if f'"{event}"' not in source] == []
