"""aiohttp: one session, one body."""

import asyncio

import aiohttp

from benchmarks.loadgen.peers.counting import Count, Load, looped, report

__all__ = ["measure"]


async def _run(load: Load) -> Count:
    url, body = f"http://127.0.0.1:{load.port}/v1/predict", bytes(load.body_bytes)
    headers = {"Content-Type": "application/octet-stream"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=load.concurrency)) as session:

        async def request() -> None:
            async with session.post(url, data=body, headers=headers) as answer:
                answer.raise_for_status()
                await answer.read()

        return await looped(request, load)


def measure(load: Load) -> Count:
    return asyncio.run(_run(load))


if __name__ == "__main__":
    report(measure)
