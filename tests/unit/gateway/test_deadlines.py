"""Each is told at the own deadline, by one timer for all."""

import asyncio

import pytest

from telelink_gateway.deadlines import Deadlines


class Waiting:
    """Who waits until when.

    Attributes:
        told: who has been told, in that order.
    """

    def __init__(self):
        self.until = {}
        self.told = []
        self.deadlines = Deadlines(self.until.items, self.tell)
        self.all_told = asyncio.Event()

    def tell(self, who):
        self.told.append((who, asyncio.get_running_loop().time() >= self.until.pop(who)))
        if not self.until:
            self.all_told.set()

    def wait(self, who, seconds):
        self.until[who] = asyncio.get_running_loop().time() + seconds
        self.deadlines.note(self.until[who])


@pytest.fixture
async def waiting():
    return Waiting()


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
async def test_each_is_told_at_the_own_deadline(waiting, order):
    for who in order:
        waiting.wait(who, {"a": 0.02, "b": 0.05, "c": 0.08}[who])
    async with asyncio.timeout(10):
        await waiting.all_told.wait()
    # Two whose time is over when it is looked are told in any order.
    assert sorted(waiting.told) == [("a", True), ("b", True), ("c", True)]


async def test_who_waits_no_longer_is_not_told(waiting):
    waiting.wait("a", 0.01)
    waiting.wait("b", 0.02)
    del waiting.until["a"]
    async with asyncio.timeout(10):
        await waiting.all_told.wait()
    assert waiting.told == [("b", True)]


async def test_whoever_comes_when_all_have_been_told_is_told_too(waiting):
    for who in "ab":
        waiting.all_told.clear()
        waiting.wait(who, 0.01)
        async with asyncio.timeout(10):
            await waiting.all_told.wait()
    assert waiting.told == [("a", True), ("b", True)]


async def test_a_deadline_that_is_over_already_is_told_at_once(waiting):
    waiting.wait("late", -1)
    async with asyncio.timeout(10):
        await waiting.all_told.wait()
    assert waiting.told == [("late", True)]


async def test_all_who_wait_share_one_timer(waiting, monkeypatch):
    loop = asyncio.get_running_loop()
    started = []
    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda *args, **more: started.append(args[0]) or call_at(*args, **more))
    for number in range(100):
        waiting.wait(number, 1 + number)
    assert len(started) == 1
