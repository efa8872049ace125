"""A rerun of the failed elements of a loop, in a server that is killed."""

import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from support.invariants import check_database
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

ELEMENTS: Final = 40
# Every fourth element fails until the flow's input says that the peer is well.
FLOW: Final = """
inputs: {{is_well: {{type: boolean, default: false}}}}
nodes:
  each:
    type: foreach
    params: {{items: "${{[...Array({elements}).keys()]}}", concurrency: 3, on_error: continue}}
    nodes:
      push:
        type: http.request
        params:
          method: POST
          url: "{url}/${{item % 4 == 0 && !flow.input.is_well ? 'status/500' : 'wait/{path}/' + item + '?most=0.3'}}"
        retry: {{max: 0}}
        next: give
      give: {{type: return, params: {{value: "${{item}}"}}}}
    next: done
  done: {{type: return, params: {{value: "${{nodes.each.result}}"}}}}
"""


@pytest.mark.timeout(300)
def test_only_the_failed_elements_run_again_although_the_server_is_killed(tmp_path: Path, receiver: Receiver) -> None:
    server = Server(tmp_path).start()
    try:
        client = server.admin()
        flow = client.new_flow(FLOW.format(elements=ELEMENTS, url=receiver.url, path=tmp_path.name))
        first = client.ended(client.run(flow), 60)
        failed = [number for number in range(ELEMENTS) if number % 4 == 0]
        assert first["result"] == [None if number in failed else number for number in range(ELEMENTS)]
        path = f"/wait/{tmp_path.name}/"
        seen = len(receiver.effects(path))

        body = {"from": "each", "elements": "failed", "input": {"is_well": True}}
        again = client.post(f"/api/v1/executions/{first['id']}/rerun", body).json["execution_id"]
        for pushed in (2, 5):
            wait_for(lambda wanted=seen + pushed: len(receiver.effects(path)) >= wanted, seconds=60)  # type: ignore[misc] # a default
            server.kill()
            time.sleep(0.1)
            server.start()
        client = server.admin()
        second = client.ended(again, 60)

        assert second["status"] == "completed"
        assert second["result"] == list(range(ELEMENTS))
        pushes = Counter(int(effect.path.removeprefix(path)) for effect in receiver.effects(path)[seen:])
        assert sorted(pushes) == failed, "those that had completed are not sent again"
        # At most the three that ran at each kill are sent twice.
        assert sum(pushes.values()) <= len(failed) + 6
    finally:
        server.stop()
    assert check_database(server.place) == []
