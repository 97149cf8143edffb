"""recaption.engine.in_flight: requests before, during and after the life of an engine."""

from __future__ import annotations

import asyncio

import pytest

from recaption.engine.base import Completion
from recaption.engine.in_flight import InFlight
from recaption.errors import EngineDead, Interrupted, RequestError

ANSWER = Completion(text="A dog.", finish_reason="stop", prompt_tokens=1, output_tokens=2)


async def at_once(work: str) -> Completion:
    return ANSWER


async def never(work: str) -> Completion:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def test_requests_are_refused_until_the_engine_is_open() -> None:
    async def run() -> None:
        requests = InFlight()
        with pytest.raises(EngineDead, match="not started"):
            await requests.run(at_once, "x")
        requests.open()
        assert await requests.run(at_once, "x") is ANSWER
        await asyncio.sleep(0)
        assert len(requests) == 0

    asyncio.run(run())


def test_the_error_of_a_request_reaches_its_caller() -> None:
    async def refused(work: str) -> Completion:
        raise RequestError(f"{work} is too long")

    async def run() -> None:
        requests = InFlight()
        requests.open()
        with pytest.raises(RequestError, match="x is too long"):
            await requests.run(refused, "x")

    asyncio.run(run())


def test_after_a_refusal_only_the_requests_in_flight_go_on() -> None:
    async def run() -> None:
        requests, go = InFlight(), asyncio.Event()
        requests.open()

        async def slow(work: str) -> Completion:
            await go.wait()
            return ANSWER

        running = asyncio.create_task(requests.run(slow, "x"))
        await asyncio.sleep(0)
        requests.refuse(EngineDead("gone"))
        requests.refuse(EngineDead("later"))
        errors = []
        for _ in range(2):
            with pytest.raises(EngineDead, match="gone") as raised:
                await requests.run(at_once, "y")
            errors.append(raised.value)
        assert errors[0] is not errors[1]
        assert len(requests) == 1
        go.set()
        assert await running is ANSWER

    asyncio.run(run())


@pytest.mark.parametrize("why", [None, EngineDead("gone")])
def test_a_stop_ends_the_requests_in_flight_with_its_error(why: EngineDead | None) -> None:
    expected = type(why) if why else Interrupted

    async def run() -> None:
        requests = InFlight()
        requests.open()
        running = [asyncio.create_task(requests.run(never, "x")) for _ in range(3)]
        await asyncio.sleep(0)
        requests.refuse(RequestError("replaced by the stop"))
        requests.stop(why)
        await requests.ended()
        assert {type(error) for error in await asyncio.gather(*running, return_exceptions=True)} == {expected}
        with pytest.raises(expected):
            await requests.run(at_once, "x")
        assert len(requests) == 0

    asyncio.run(run())


def test_a_request_ends_with_its_caller() -> None:
    async def run() -> None:
        requests, ended = InFlight(), asyncio.Event()
        requests.open()

        async def slow(work: str) -> Completion:
            try:
                return await never(work)
            finally:
                ended.set()

        caller = asyncio.create_task(requests.run(slow, "x"))
        await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.wait_for(ended.wait(), 120)

    asyncio.run(run())
