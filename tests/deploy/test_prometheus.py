"""The alerts and the dashboard in `deploy/`, on a real Prometheus that scrapes a real server."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from docs.pages import TELEMETRY, blocks, first_words, section
from support.client import Client
from support.networks import unused_port
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD: Final = DEPLOY / "grafana" / "flowrunner.json"
TOKEN: Final = "a-token-of-prometheus"
MISSING: Final = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (apt-get install prometheus)"
)
# A server that purges at its start, where another one waits for five minutes.
PURGING: Final = (
    "-c",
    "import flowrunner.bootstrap.housekeeping as h, flowrunner.serving; h.SETTLING_SECONDS = 0.1\n"
    "from flowrunner.cli.main import main; main()",
)
FLOW: Final = """
triggers: {{in: {{type: webhook, verify: {{scheme: token, header: X-Token, secret: "${{secrets.HOOK}}"}}}}}}
nodes:
  script: {{type: transform, params: {{value: "${{[1, 2].map(n => n + 1)}}"}}, next: {{default: often}}}}
  often:
    type: http.request
    params: {{url: '{url}/status/503'}}
    retry: {{max: 1, delay: 10ms}}
    next: {{error: forbidden}}
  forbidden: {{type: http.request, params: {{url: 'http://10.1.2.3/'}}}}
"""


def rules() -> list[Any]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def queries() -> list[str]:
    """The queries of the dashboard, as Grafana sends them."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "1m").replace("$job", "flowrunner") for query in found]


def compared(expression: str) -> str:
    """Return the part of an alert that it compares with its first threshold."""
    first, *_ = re.split(r"\s(?:and|unless)\s", expression.strip())
    left, operator, _ = re.split(r"\s(==|<|>)\s(?=[^<>=]+$)", first.strip())
    assert operator, expression
    return left


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> list[Any]:
        return list(self._get("query", query=query)["result"])

    def wait_for_scrape(self) -> None:
        """Wait until it has the numbers that the server has now."""
        now, query = time.time(), 'timestamp(up{job="flowrunner"})'
        wait_for(lambda: any(float(one["value"][1]) > now for one in self.ask(query)))

    def _get(self, path: str, **values: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        with urllib.request.urlopen(url, timeout=20) as reply:
            return json.load(reply)["data"]

    def is_ready(self) -> bool:
        try:
            return bool(self.ask('up{job="flowrunner"} == 1'))
        except OSError:
            return False


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, lasting_receiver: Receiver) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a server several times while all kinds of things happened on it."""
    directory = tmp_path_factory.mktemp("prometheus")
    server = Server(directory, {"METRICS_TOKEN": TOKEN}, program=PURGING)
    process = None
    try:
        server.start()
        url = f"http://127.0.0.1:{unused_port()}"
        (directory / "token").write_text(TOKEN)
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ALERTS)]
        (job,) = config["scrape_configs"]
        job["authorization"]["credentials_file"] = str(directory / "token")
        job["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        with (directory / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/tsdb",
                    f"--web.listen-address={url.removeprefix('http://')}", "--log.level=warn",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        found = Prometheus(url)
        wait_for(found.is_ready)
        live_through(server.admin().new_account(), lasting_receiver, found)
        yield found
    finally:
        if process is not None:
            process.terminate()
            process.wait(20)
        server.stop()


def live_through(user: Client, receiver: Receiver, prometheus: Prometheus) -> None:
    """Let things of all kinds happen, so that Prometheus sees numbers grow."""
    user.new_secret("HOOK", "a-token-of-a-hook-that-is-long")
    body = {"url": f"{receiver.url}/ok/alerts", "events": ["execution.failed"]}
    assert user.post("/api/v1/callbacks", body).status == 201
    flow = user.new_flow(FLOW.format(url=receiver.url))
    (hook,) = [trigger["url"] for trigger in user.get("/api/v1/triggers").json["triggers"]]
    for _ in range(3):
        user.ended(user.run(flow))
        assert Client(user.url).post(urllib.parse.urlsplit(hook).path, {}).status in (401, 403, 404)
        prometheus.wait_for_scrape()


def test_the_alerts_are_rules_that_prometheus_reads() -> None:
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_each_alert_fires_when_it_should_and_not_when_all_is_well() -> None:
    tests = ALERTS.with_name("alerts.test.yaml")
    tested = re.findall(r"alertname: (\w+)", tests.read_text())

    done = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert tested == [rule["alert"] for rule in rules()]


def test_the_alerts_about_one_flow_tell_a_silent_and_a_failing_one(tmp_path: Path) -> None:
    (rules_of_flows,) = blocks(TELEMETRY, "yml")
    (tmp_path / "flows.yaml").write_text(rules_of_flows)
    silent = {"exp_labels": {"severity": "critical"}}
    ended = "flowrunner_flow_executions_ended_total"
    cases: list[tuple[str, dict[str, str], dict[str, list[str]]]] = [
        # It completes at night, and not in the third one.
        ("nightly", {f'{ended}{{flow="orders", status="completed"}}': "1x24 2x80"}, {"49h": [], "52h": ["silent"]}),
        # The server has started again: the series begins with the first end since.
        ("restarted", {f'{ended}{{flow="orders", status="completed"}}': "_x30 1x80"}, {"55h": [], "58h": ["silent"]}),
        ("never", {f'{ended}{{flow="other", status="completed"}}': "0+1x80"}, {"1h": ["silent"]}),
    ]
    tests: list[Any] = [
        {
            "name": name, "interval": "1h",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "alert_rule_test": [
                {"eval_time": time, "alertname": "OrdersDidNotComplete", "exp_alerts": [silent] * len(found)}
                for time, found in expected.items()
            ],
        }
        for name, given, expected in cases
    ]  # fmt: skip
    both = [
        {"series": f'{ended}{{flow="{flow}", status="{status}"}}', "values": values}
        for flow, status, values in (
            ("bad", "failed", "0+1x90"), ("bad", "completed", "5x90"), ("mixed", "failed", "0+1x90"),
            ("mixed", "completed", "0+1x90"), ("good", "completed", "0+1x90"),
        )
    ]  # fmt: skip
    fired = [{"exp_labels": {"severity": "warning", "flow": "bad"}}]
    tests.append({
        "name": "failing", "interval": "1m", "input_series": both,
        "alert_rule_test": [{"eval_time": "75m", "alertname": "FlowOnlyFails", "exp_alerts": fired}],
    })  # fmt: skip
    written = {"rule_files": ["flows.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(written))

    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_every_alert_is_described_and_no_other() -> None:
    assert first_words(section(TELEMETRY, "Alerts")) == [rule["alert"] for rule in rules()]


def test_what_each_alert_watches_is_there(prometheus: Prometheus) -> None:
    wait_for(
        lambda: bool(prometheus.ask('flowrunner_background_last_run_timestamp_seconds{name="retention.executions"}')),
        30,
    )

    # `tests/scenarios/test_cluster.py` looks for the metric of Temporal where there is one.
    asked = [compared(rule["expr"]) for rule in rules() if rule["alert"] != "FlowRunnerTemporalUnavailable"]
    asked = [query.replace("[10m]", "[1m]").replace("[5m]", "[1m]") for query in asked]
    # There was no error of the server; the route and the status are of another request.
    asked = [query.replace('status=~"5.."', 'status=~"2.."') for query in asked]
    assert [query for query in asked if not prometheus.ask(query)] == []


def test_no_alert_fires_on_a_server_that_works(prometheus: Prometheus) -> None:
    firing = {alert["metric"]["alertname"] for alert in prometheus.ask('ALERTS{alertstate="firing"}')}

    assert firing <= {"FlowRunnerDiskFull"}, "the disk of the tests may be small"


def test_every_query_of_the_dashboard_gives_a_series(prometheus: Prometheus) -> None:
    assert len(queries()) > 40
    assert [query for query in queries() if not prometheus.ask(query)] == []


def test_the_dashboard_names_the_flow_that_has_run(prometheus: Prometheus) -> None:
    (series,) = prometheus.ask('flowrunner_flow_executions_ended_total{status="failed", flow!="other"}')

    assert series["metric"]["flow"] == "A flow"
