"""Head and body of a reply leave together, and connections end when they should, over real sockets."""

import asyncio

import pytest

from support.protocol import CHUNKED, GET, LAST, LONG, Serving, asked, reset, spoken, until
from telelink_shared.web.shedding import shedding_protocol


async def test_a_reply_is_sent_by_one_write():
    async with Serving() as serving:
        got, _, writer = await asked(serving, "/", lambda got: got.endswith(b"hello"))
        writer.close()
    assert serving.sent == [got]
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_reply_in_parts_does_not_wait_for_its_end():
    async with Serving() as serving:
        got, reader, writer = await asked(serving, "/parts", lambda got: got.endswith(b"he"))
        assert got.endswith(b"\r\n\r\nhe")
        serving.go.set()
        assert await reader.readexactly(3) == b"llo"
        writer.close()
    assert len(serving.sent) == 2


async def test_a_long_reply_arrives_whole():
    async with Serving() as serving:
        got, _, writer = await asked(serving, "/long", lambda got: len(got) > LONG)
        writer.close()
    assert got.partition(b"\r\n\r\n")[2] == b"x" * LONG


async def test_a_client_that_hangs_up_before_its_reply_is_told_to_whoever_asked():
    async with Serving() as serving:
        _, _, writer = await asked(serving, "/parts", lambda got: got.endswith(b"he"))
        assert not serving.hung_up.is_set()
        writer.transport.abort()
        async with asyncio.timeout(10):
            await serving.hung_up.wait()
        serving.go.set()


async def test_a_connection_that_nobody_uses_any_more_is_closed():
    async with Serving(keep_alive_s=0.05) as serving, asyncio.timeout(10):
        got, reader, writer = await asked(serving, "/", lambda got: got.endswith(b"hello"))
        assert b"close" not in got
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_is_not_closed_under_a_request_that_takes_longer():
    async with Serving(keep_alive_s=0.05) as serving, asyncio.timeout(10):
        _, reader, writer = await asked(serving, "/", lambda got: got.endswith(b"hello"))
        writer.write(b"GET /parts HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nhe")
        # It has looked whether the connection is still of use.
        await until(lambda: serving.protocol._idle._timer is None)
        serving.go.set()
        assert await reader.read() == b"llo"
        writer.close()


async def test_a_connection_that_was_used_again_is_closed_when_it_no_longer_is():
    async with Serving(keep_alive_s=0.2) as serving, asyncio.timeout(10):
        _, reader, writer = await asked(serving, "/", lambda got: got.endswith(b"hello"))
        await asyncio.sleep(0.05)  # of its time
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"hello")
        # The look that the first reply asked for comes too early for the second.
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_was_refused_at_once_is_closed_when_nobody_uses_it_any_more():
    refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    async with Serving(shedding_protocol(lambda data: refused), keep_alive_s=0.05) as serving, asyncio.timeout(10):
        got, reader, writer = await asked(serving, "/", lambda got: got.endswith(b"\r\n\r\n"))
        assert got == refused
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_breaks_under_a_request_leaves_no_timer():
    async with Serving() as serving, asyncio.timeout(10):
        _, _, writer = await asked(serving, "/", lambda got: got.endswith(b"hello"))
        writer.write(b"GET /parts HTTP/1.1\r\nhost: x\r\n\r\n")
        await serving.begun.wait()
        reset(writer)
        await serving.hung_up.wait()
        assert serving.protocol._idle._timer is None


async def test_the_last_reply_of_a_connection_is_sent_before_it_is_closed():
    async with Serving() as serving:
        got, reader, writer = await asked(serving, "/close", lambda got: got.endswith(b"hello"))
        assert await reader.read() == b""
        writer.close()
    assert serving.sent == [got]


async def test_trailers_are_not_seen_as_headers():
    async with Serving() as serving:
        await spoken(serving, CHUNKED + b"0\r\ntrailer: x\r\n\r\n" + LAST)
        assert b"trailer" not in dict(serving.headers[0])


OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"connection: upgrade\r\nUPGRADE: websocket\r\nsec-websocket-version: 13\r\n",
    "several": b"upgrade: TLS/1.0, h2c\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("n_bytes", [1, 50, 10_000])
@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 5\r\n\r\n12345", b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
async def test_an_upgrade_that_is_offered_is_ignored(offer, n_bytes, framed):
    get = b"GET / HTTP/1.1\r\nhost: x\r\n" + offer + b"\r\n"
    post = b"POST /body HTTP/1.1\r\nhost: x\r\nx-request-id: a\r\n" + offer + framed
    sent = post + get + post + LAST
    async with Serving() as serving:
        got = await spoken(serving, *[sent[at : at + n_bytes] for at in range(0, len(sent), n_bytes)], pause_s=0)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert got.count(b"12345") == got.count(b"hello") == 2
    assert all(dict(headers)[b"host"] == b"x" for headers in serving.headers)
    assert dict(serving.headers[0])[b"x-request-id"] == b"a"


async def test_an_upgrade_that_is_offered_by_who_closes_is_ignored():
    async with Serving() as serving:
        offer = b"connection: close, upgrade\r\nupgrade: h2c\r\ncontent-length: 5\r\n\r\n"
        got = await spoken(serving, b"POST /body HTTP/1.1\r\nhost: x\r\n" + offer, b"12345")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"12345")


def left(writer):
    """Hang up as a client does that closes its connection."""
    writer.close()


@pytest.mark.parametrize("leave", [left, reset])
@pytest.mark.parametrize("behind", [b"", GET + b"\r\n", (GET + b"\r\n") * 3, CHUNKED + b"5\r\nhel"])
async def test_a_client_that_hangs_up_is_told_to_the_request_under_way_and_those_behind_it_are_dropped(leave, behind):
    async with Serving() as serving, asyncio.timeout(10):
        _, _, writer = await asked(serving, "/listen", lambda got: got.endswith(b"he"))
        await serving.begun.wait()
        writer.write(behind)
        leave(writer)
        await serving.hung_up.wait()
        await serving.left.wait()
        assert (await spoken(serving, LAST)).endswith(b"hello")
    assert serving.asked == ["/listen", "/close"]
