"""aiohttp: one session, one body."""

import asyncio

import aiohttp

from benchmarks.loadgen.peers.looping import Load, looped, program

__all__ = ["send"]


async def _run(load: Load) -> None:
    url, body = f"http://127.0.0.1:{load.port}/v1/predict", bytes(load.body_bytes)
    headers = {"Content-Type": "application/octet-stream"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=load.concurrency)) as session:

        async def request() -> None:
            async with session.post(url, data=body, headers=headers) as answer:
                answer.raise_for_status()
                await answer.read()

        await looped(request, load)


def send(load: Load) -> None:
    asyncio.run(_run(load))


if __name__ == "__main__":
    program(send)
