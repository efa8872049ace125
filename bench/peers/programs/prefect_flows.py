"""The flows of Prefect; run as a program, it serves them as deployments."""

# mypy: ignore-errors
# Its library is installed in another venv.

import httpx
from prefect import flow, serve, task

client = httpx.AsyncClient(timeout=60)


@task
async def get(url: str) -> object:
    return (await client.get(url)).json()


@task
async def post(url: str, value: object) -> object:
    return (await client.post(url, json=value)).json()


@task
async def nothing(value: int) -> int:
    return value


@flow
async def two_calls(url: str) -> object:
    return await post(url, await get(url))


@flow
async def ten_steps(url: str) -> int:
    value = 0
    for number in range(10):
        value = await nothing(number)
    return value


@flow
async def ten_calls(url: str) -> object:
    value = None
    for _ in range(10):
        value = await get(url)
    return value


FLOWS = {"W1": two_calls, "W2": ten_steps, "W3": ten_calls}

if __name__ == "__main__":
    serve(*(workload.to_deployment("peer") for workload in FLOWS.values()))
