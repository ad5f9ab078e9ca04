"""Names are looked up while the gateway runs, and no name server decides whether a service is asked."""

import asyncio
import socket

import pytest

from telelink_gateway.upstream.endpoints import AVOIDED_S, NAME_AGE_S, Endpoints, look_up
from telelink_gateway.upstream.failure import Failure


class Names:
    """A name server.

    Attributes:
        addresses: what it says; an exception is raised.
        is_open: while it is not set, it says nothing.
    """

    def __init__(self, *addresses):
        self.addresses = addresses
        self.n_asked = 0
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def resolve(self, host, port):
        assert (host, port) == ("churn", 8001)
        self.n_asked += 1
        await self.is_open.wait()
        if isinstance(self.addresses, Exception):
            raise self.addresses
        return self.addresses


def endpoints(names):
    return Endpoints("http://churn:8001", names.resolve)


async def picked(of, now, n=1, **how):
    return [await of.pick(now, **how) for _ in range(n)]


def now():
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8001", "127.0.0.1:8001"),
        ("http://[::1]:8001/sub", "[::1]:8001"),
        ("http://10.0.0.1", "10.0.0.1"),
    ],
)
async def test_an_address_is_no_name_to_look_up(url, host):
    async def resolve(_host, _port):
        raise AssertionError("looked up")

    of = Endpoints(url, resolve)
    assert await of.pick(now()) == url
    of.avoid(url, now())
    assert await of.pick(now(), not_this=url) == url
    assert of.host == host


async def test_a_name_is_replaced_by_its_address_and_stays_in_the_host_header():
    names = Names("10.0.0.7")
    of = endpoints(names)
    assert await of.pick(now()) == "http://10.0.0.7:8001"
    assert (of.host, of.tls_name) == ("churn:8001", None)
    secure = Endpoints("https://churn:8001/prefix", names.resolve)
    assert await secure.pick(now()) == "https://10.0.0.7:8001/prefix"
    assert (secure.host, secure.tls_name) == ("churn:8001", "churn")
    assert await endpoints(Names("fd00::7")).pick(now()) == "http://[fd00::7]:8001"


async def test_a_service_that_comes_back_at_another_address_is_found_within_three_seconds():
    names = Names("10.0.0.7")
    of = endpoints(names)
    assert await of.pick(now()) == "http://10.0.0.7:8001"
    names.addresses = ("10.0.0.8",)
    assert await of.pick(now()) == "http://10.0.0.7:8001"
    assert NAME_AGE_S < 3
    assert await of.pick(now() + NAME_AGE_S) == "http://10.0.0.8:8001"


async def test_a_name_is_looked_up_once_however_many_want_to_know():
    names = Names("10.0.0.7")
    of = endpoints(names)
    await asyncio.gather(*(of.pick(now()) for _ in range(50)))
    await picked(of, now(), 50)
    assert names.n_asked == 1


async def test_addresses_take_turns():
    of = endpoints(Names("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"))
    turns = await picked(of, now(), 6)
    assert turns[:3] == turns[3:]
    assert sorted(turns[:3]) == [f"http://10.0.0.{number}:8001" for number in (1, 2, 3)]


async def test_an_address_that_failed_is_left_alone_for_a_while_if_there_is_another():
    of = endpoints(Names("10.0.0.1", "10.0.0.2"))
    bad, good = await picked(of, now(), 2)
    of.avoid(bad, now())
    assert await picked(of, now(), 3) == [good] * 3
    of.avoid(good, now())
    assert set(await picked(of, now(), 2)) == {bad, good}
    assert await picked(of, now(), 3, not_this=good) == [bad] * 3
    later = now() + AVOIDED_S + 0.001
    assert set(await picked(of, later, 2)) == {bad, good}


async def test_after_a_failure_the_name_is_asked_again_sooner():
    names = Names("10.0.0.7")
    of = endpoints(names)
    at = now()
    bad = await of.pick(at)
    names.addresses = ("10.0.0.8",)
    of.avoid(bad, at)
    assert await of.pick(at + 0.3) == "http://10.0.0.8:8001"


@pytest.mark.parametrize("error", [socket.gaierror(), OSError(), UnicodeError()], ids=repr)
async def test_what_was_known_goes_on_while_the_name_server_is_out(error):
    names = Names("10.0.0.7")
    of = endpoints(names)
    known = await of.pick(now())
    names.addresses = error
    assert await of.pick(now() + NAME_AGE_S) == known
    assert names.n_asked == 2


async def test_nobody_waits_long_for_a_name_server_that_hangs_and_it_is_believed_when_it_wakes():
    names = Names("10.0.0.7")
    of = endpoints(names)
    known = await of.pick(now())
    names.is_open.clear()
    names.addresses = ("10.0.0.8",)
    later = now() + NAME_AGE_S
    assert await picked(of, later, 100) == [known] * 100
    assert names.n_asked == 2
    names.is_open.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await of.pick(now()) == "http://10.0.0.8:8001"
    await of.close()


async def test_a_caller_that_gives_up_takes_the_answer_from_no_other():
    names = Names("10.0.0.7")
    names.is_open.clear()
    of = endpoints(names)
    hasty, patient = (asyncio.create_task(of.pick(now())) for _ in range(2))
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.sleep(0)
    names.is_open.set()
    assert await patient == "http://10.0.0.7:8001"


@pytest.mark.parametrize("addresses", [(), OSError()], ids=repr)
async def test_a_name_that_nobody_knows_is_a_failure_to_connect_and_is_asked_again(addresses):
    names = Names()
    names.addresses = addresses
    of = endpoints(names)
    with pytest.raises(Failure) as raised:
        await of.pick(now())
    assert raised.value.code == "connect"
    names.addresses = ("10.0.0.7",)
    assert await of.pick(now() + NAME_AGE_S) == "http://10.0.0.7:8001"


async def test_the_system_is_asked_for_one_family():
    assert await look_up("localhost", 80) == ["127.0.0.1"]
