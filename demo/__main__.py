"""Runs a flow on a real server, undisturbed and through a crash, and another one by its triggers.

Everything happens on this machine's loopback address, in a temporary directory that is deleted at
the end. The exit code is 0 only if everything came out as it should.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from demo import screen
from demo.server import ADMIN, PASSWORD, Server, ServerFailed
from demo.shop import TOKEN, Received, Shop

FLOW: Final = Path(__file__).with_name("order.yaml")
TRIGGERED: Final = Path(__file__).with_name("greeting.yaml")
_HOOK_TOKEN: Final = "a-token-of-the-one-who-asks"  # noqa: S105 # made up, for a server that lives for seconds
# It starts two servers, on a machine that may be busy.
_LONGEST_SECONDS: Final = 200.0


class Unexpected(Exception):
    """Something came out differently than it should."""


def expect(actual: object, expected: object, what: str) -> None:
    if actual != expected:
        raise Unexpected(f"{what}\n  expected  {screen.compact(expected)}\n  actual    {screen.compact(actual)}")


class Client:
    """A caller of the REST API and of the WebSocket, logged in."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self._session = session
        self._server = server
        self._headers: dict[str, str] = {}

    async def call(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        async with self._session.request(
            method, f"{self._server.url}/api/v1{path}", json=body, headers=self._headers
        ) as response:
            answer = await response.json()
            if response.status != status:
                raise Unexpected(f"{method} {path} answered {response.status}: {screen.compact(answer)}")
            return answer

    async def log_in(self) -> str:
        """Gives the account's id."""
        answer = await self.call("POST", "/auth/login", {"username": ADMIN, "password": PASSWORD})
        self._headers = {"Authorization": f"Bearer {answer['token']}"}
        return str(answer["account_id"])

    async def ask(self, path: str, body: object, headers: Mapping[str, str]) -> Any:
        """Send a request as another system does, without the login."""
        async with self._session.post(f"{self._server.url}{path}", json=body, headers=headers) as response:
            answer = await response.json()
            if response.status != 200:
                raise Unexpected(f"the webhook answered {response.status}: {screen.compact(answer)}")
            return answer

    async def watch(self, execution_id: str, *, after: int = 0) -> list[Any]:
        """Print every message from the one behind ``after`` on, until the server closes the socket."""
        address = f"{self._server.url}/ws/executions/{execution_id}?after={after}"
        messages = []
        async with self._session.ws_connect(address, headers=self._headers) as socket:
            async for message in socket:
                messages.append(message.json())
                screen.event(messages[-1])
        return messages


async def demo(directory: Path) -> None:
    async with Shop() as shop, Server(directory / "data") as server:
        try:
            async with aiohttp.ClientSession() as session:
                client = Client(session, server)
                screen.chapter("A server and a shop, both on this machine")
                screen.fact("FlowRunner", server.url)
                screen.fact("shop", shop.url)
                flow_id = await _create(client)
                await _run(client, shop, flow_id)
                await _run_through_a_crash(client, shop, server, flow_id)
                await _start_by_triggers(client)
        except (Unexpected, aiohttp.ClientError) as error:
            raise Unexpected(f"{error}\n\nThe last lines of the server's log:\n{server.words}") from error


async def _create(client: Client) -> str:
    account_id = await client.log_in()
    await client.call("POST", f"/accounts/{account_id}/secrets", {"key": "SHOP_TOKEN", "value": TOKEN}, status=201)
    flow = await client.call("POST", "/flows", {"definition": FLOW.read_text(), "tags": ["demo"]}, status=201)
    screen.chapter(f"A flow: demo/{FLOW.name}")
    screen.fact("id", flow["id"])
    screen.fact("name", f"{flow['name']} {flow['version']}")
    screen.fact("nodes", "fetch (http.request) → receipt (transform) → notify (webhook)")
    return str(flow["id"])


async def _run(client: Client, shop: Shop, flow_id: str) -> None:
    shop.failures = 1
    screen.chapter("It runs, and tells what happens over a WebSocket. The shop's first answer is a 503")
    execution_id = await _start(client, flow_id, shop, "1001")
    messages = await client.watch(execution_id)
    expected = {
        "receipt": {"order": 1001, "total": 74.5, "text": "Ada ordered 2 things"},
        "answer": {"thanks": True},
    }
    await _check(client, execution_id, messages, expected)

    screen.chapter("Its log")
    logs = (await client.call("GET", f"/executions/{execution_id}/logs?limit=100"))["logs"]
    for line in logs:
        screen.log_line(line)
    expect(
        [line["message"] for line in logs],
        [
            "Execution started",
            "HTTP request failed with status 503",
            "HTTP request successful",
            "Webhook successful",
            "Execution completed",
        ],
        "The log should tell the story",
    )

    screen.chapter("What the shop got, each try of a node with the same key")
    _check_received(shop.received, execution_id, fetches=2, receipt=expected["receipt"])
    shop.received.clear()


async def _run_through_a_crash(client: Client, shop: Shop, server: Server, flow_id: str) -> None:
    screen.chapter("It runs again, and the server is killed (kill -9) while it waits for the shop")
    shop.gate.clear()
    shop.knock.clear()
    execution_id = await _start(client, flow_id, shop, "1002")
    await shop.knock.wait()
    await server.kill()
    shop.gate.set()
    begun = time.monotonic()
    await server.start()
    screen.fact("restarted in", f"{time.monotonic() - begun:.1f} s")
    messages = await client.watch(execution_id)
    expected = {
        "receipt": {"order": 1002, "total": 312, "text": "Grace ordered 3 things"},
        "answer": {"thanks": True},
    }
    await _check(client, execution_id, messages, expected)

    screen.chapter("What the shop got: the node that was cut off ran again, with its key; nothing else did")
    _check_received(shop.received, execution_id, fetches=2, receipt=expected["receipt"])


async def _start_by_triggers(client: Client) -> None:
    await client.call("POST", "/accounts/me/secrets", {"key": "HOOK_TOKEN", "value": _HOOK_TOKEN}, status=201)
    flow = await client.call("POST", "/flows", {"definition": TRIGGERED.read_text()}, status=201)
    screen.chapter(f"A flow that starts by itself: demo/{TRIGGERED.name}")
    triggers = {trigger["name"]: trigger for trigger in (await client.call("GET", "/triggers"))["triggers"]}
    screen.fact("often", f"next at {triggers['often']['next_at']}")
    screen.fact("asked", "POST /hooks/…, with a token")

    answer = await client.ask(triggers["asked"]["url"], {"name": "Ada"}, {"X-Token": _HOOK_TOKEN})
    screen.fact("the request gets", answer)
    expect(answer, "Hello, Ada!", "The request should get the result")
    started = await _started_by(client, triggers["often"]["id"])
    result = (await client.call("GET", f"/executions/{started}"))["result"]
    screen.fact("the schedule gives", result)
    expect(result, "Hello, the clock!", "The schedule should start the flow")
    await client.call("DELETE", f"/flows/{flow['id']}")


async def _started_by(client: Client, trigger_id: str) -> str:
    """Return the first execution that a trigger has started and that has completed, once there is one."""
    while True:
        listed = await client.call("GET", f"/executions?trigger={trigger_id}&status=completed")
        if listed["executions"]:
            return str(listed["executions"][0]["id"])
        await asyncio.sleep(0.2)


async def _start(client: Client, flow_id: str, shop: Shop, order: str) -> str:
    body = {"input": {"shop": shop.url, "order": order}}
    accepted = await client.call("POST", f"/flows/{flow_id}/run", body, status=201)
    screen.fact("execution", accepted["execution_id"])
    return str(accepted["execution_id"])


async def _check(client: Client, execution_id: str, messages: Sequence[Any], expected: object) -> None:
    execution = await client.call("GET", f"/executions/{execution_id}")
    screen.fact("status", execution["status"])
    screen.fact("result", execution.get("result"))
    screen.fact("duration", f"{execution['duration']} ms")
    expect(execution["status"], "completed", "The execution should have completed")
    expect(execution["result"], expected, "The result is another one")
    expect(messages[-1]["type"], "execution_completed", "The last message should be the end")
    expect(messages[-1]["result"], expected, "The WebSocket should tell the same result")
    numbers = [message["seq"] for message in messages]
    expect(numbers, list(range(1, len(numbers) + 1)), "The messages should be numbered without a gap")
    completed = [message["node_id"] for message in messages if message["type"] == "node_completed"]
    expect(completed, ["fetch", "receipt", "notify"], "Each node should complete once")
    if TOKEN in screen.compact([messages, execution]):
        raise Unexpected("The secret can be read in what the server tells")


def _check_received(received: Sequence[Received], execution_id: str, *, fetches: int, receipt: object) -> None:
    for request in received:
        body = "" if request.body is None else screen.compact(request.body)
        screen.say(f"  {request.method:<4} {request.path:<12} {body}")
        screen.say(screen.coloured(f"       Idempotency-Key: {request.key}", "dim"))
    expect(
        [(r.method, r.key) for r in received],
        [("GET", f"{execution_id}.fetch.1")] * fetches + [("POST", f"{execution_id}.notify.1")],
        "The shop should have got each request with its node's key",
    )
    expect(received[-1].body, receipt, "The shop should have got the receipt")


async def _main() -> int:
    task = asyncio.current_task()
    assert task is not None, "called by asyncio.run"
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="flowrunner-demo-") as directory:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await demo(Path(directory))
    except TimeoutError:
        return _failed(f"It took longer than {_LONGEST_SECONDS:g} s")
    except (Unexpected, ServerFailed, aiohttp.ClientError) as error:
        return _failed(str(error))
    except asyncio.CancelledError:
        return _failed("It was interrupted")
    seconds = time.monotonic() - begun
    screen.say(f"\n{screen.coloured('All as it should be', 'green')} ({seconds:.1f} s). Next: make serve")
    return 0


def _failed(message: str) -> int:
    sys.stdout.flush()
    print(f"\nThe demo failed. {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
