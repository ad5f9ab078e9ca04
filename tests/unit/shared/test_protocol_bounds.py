"""What is taken in is bounded, in size and in time, over real sockets."""

import asyncio
import contextlib

import pytest

from support.protocol import CHUNKED, GET, LAST, Serving, asked, refusal, spoken, until
from telelink_shared.web import protocol
from telelink_shared.web.protocol import MAX_HEAD_BYTES


@pytest.fixture(autouse=True)
def short_last_words(monkeypatch):
    monkeypatch.setattr(protocol, "_LAST_WORD_S", 0.2)


@pytest.mark.parametrize(
    "parts",
    [
        [GET + b"canary: " + b"x" * 40_000_000],
        [GET + b"canary: x\r\n" * 20_000 + b"\r\n"],
        [GET, *[b"canary: " + b"x" * 4_000 + b"\r\n"] * 10],
        [b"GET /" + b"canary" * 10_000 + b" HTTP/1.1\r\n\r\n"],
        [CHUNKED + b"5\r\nhello\r\n0\r\n", b"canary: " + b"x" * 200_000 + b"\r\n\r\n"],
        [CHUNKED, b"5;" + b"canary" * 20_000],
        [GET + b"\r\n", GET + b"canary: " + b"x" * 100_000],
    ],
    ids=["value", "lines", "pieces", "address", "trailers", "chunk extension", "second request"],
)
async def test_a_head_or_trailers_without_end_are_refused(parts):
    async with Serving() as serving:
        got = await spoken(serving, *parts)
        if parts[0] == GET + b"\r\n":
            got = got.partition(b"hello")[2]
        assert refusal(got) == (431, "head_too_large")
        # And nobody else has come to harm.
        assert (await spoken(serving, LAST)).endswith(b"hello")


@pytest.mark.parametrize("n_bytes", [1, 500, MAX_HEAD_BYTES])
async def test_a_head_as_large_as_may_be_is_taken_in_pieces_of_any_size(n_bytes):
    head = b"POST /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 300000\r\nlong: "
    head += b"x" * (MAX_HEAD_BYTES - len(head) - 4) + b"\r\n\r\n"
    n_apart = min(len(head), 20 * n_bytes)
    first = [head[at : at + n_bytes] for at in range(0, n_apart, n_bytes)]
    async with Serving() as serving:
        got = await spoken(serving, *first, head[n_apart:] + b"b" * 300_000)
    assert got.endswith(b"hello")


async def test_a_long_body_and_many_requests_in_one_segment_are_not_mistaken_for_a_head():
    chunk = b"%x\r\n%b\r\n" % (200_000, b"x" * 200_000)
    async with Serving() as serving:
        got = await spoken(serving, CHUNKED + chunk + b"0\r\n\r\n" + (GET + b"\r\n") * 2_000 + LAST)
    assert got.count(b"hello") == 2_002


async def test_a_refusal_waits_for_the_reply_before_it():
    async with Serving() as serving:
        _, reader, writer = await asked(serving, "/parts", lambda got: got.endswith(b"he"))
        writer.write(b"nonsense\r\n\r\n")
        await asyncio.sleep(0.05)
        serving.go.set()
        assert await reader.readexactly(3) == b"llo"
        assert refusal(await reader.read()) == (400, "bad_request")
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [b"canary\r\n\r\n", b"GET / HTTP/1.1\r\ncanary\r\n\r\n", CHUNKED + b"canary\r\n", b"\x16\x03\x01canary"],
    ids=["line", "header", "chunk", "tls"],
)
async def test_what_is_no_request_is_refused_as_a_problem(sent):
    async with Serving() as serving:
        assert refusal(await spoken(serving, sent)) == (400, "bad_request")


async def test_a_head_that_does_not_end_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(protocol, "_PATIENCE_S", 0.2)
    async with Serving() as serving:
        got = await spoken(serving, GET, *[b"x: y\r\n"] * 100)
        assert refusal(got) == (408, "request_timeout")
        # The time of one that did end is not counted on.
        reader, writer = await asyncio.open_connection(*serving.address)
        for part in (GET, b"\r\n", b"", LAST):
            writer.write(part)
            await asyncio.sleep(0.15)
        assert (await reader.read()).count(b"hello") == 2
        writer.close()


async def test_a_head_that_begins_behind_a_whole_request_is_not_waited_for_either(monkeypatch):
    monkeypatch.setattr(protocol, "_PATIENCE_S", 0.05)
    async with Serving() as serving:
        whole, refused = (await spoken(serving, GET + b"\r\n" + GET)).split(b"hello")
        assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
        assert refusal(refused) == (408, "request_timeout")


async def test_what_is_sent_ahead_is_not_read_without_end():
    async with Serving() as serving, asyncio.timeout(10):
        _, reader, writer = await asked(serving, "/parts", lambda got: got.endswith(b"he"))
        writer.write((GET + b"\r\n") * 100_000 + LAST)
        await until(lambda: serving.protocol.flow.read_paused)
        assert len(serving.protocol.pipeline) < 50_000
        serving.go.set()
        assert (await reader.read()).count(b"hello") == 100_001
        writer.close()


BROKEN = CHUNKED + b"canary\r\n"


@pytest.mark.parametrize("broken", [BROKEN, b"canary\r\n\r\n", CHUNKED + b"5\r\nhello\r\n0\r\n" + b"x" * 100_000])
@pytest.mark.parametrize("n_whole", [1, 3])
async def test_what_is_whole_is_answered_before_what_is_broken_behind_it_is_refused(broken, n_whole):
    async with Serving() as serving:
        got = await spoken(serving, (GET + b"\r\n") * n_whole + broken)
        *answers, refused = got.split(b"HTTP/1.1 ")[1:]
        assert [answer.endswith(b"hello") for answer in answers] == [True] * n_whole
        assert refusal(b"HTTP/1.1 " + refused)[0] in (400, 431)
        assert serving.asked == ["/"] * n_whole


POST = b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "beginning",
    [POST % 5, POST % 5 + b"hell", CHUNKED + b"5\r\nhello\r\n0\r\ntrailer: x\r\n", GET],
    ids=["body", "end of body", "end of trailers", "head"],
)
async def test_what_does_not_come_in_time_is_refused_and_takes_nobodys_place(monkeypatch, beginning):
    monkeypatch.setattr(protocol, "_PATIENCE_S", 0.05)
    async with Serving() as serving:
        assert refusal(await spoken(serving, beginning)) == (408, "request_timeout")
        assert serving.asked == []
        assert (await spoken(serving, LAST)).endswith(b"hello")


async def test_a_body_too_large_to_be_kept_is_given_to_the_application_as_it_comes_and_refused_when_it_ends_to_come(
    monkeypatch,
):
    monkeypatch.setattr(protocol, "_PATIENCE_S", 0.2)
    async with Serving() as serving:
        assert refusal(await spoken(serving, POST % 1_000_000 + b"x" * 100_000)) == (408, "request_timeout")
        assert serving.asked == ["/wait"]
        # It was told that the rest does not come.
        await until(lambda: len(serving.headers) == 1)


async def test_a_body_may_take_long_as_long_as_it_comes():
    n_bytes = protocol._LEAST_BYTES
    async with Serving() as serving, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*serving.address)
        writer.write(POST % (4 * n_bytes))
        await until(lambda: serving.protocol and serving.protocol._rest.is_waiting)
        for _ in range(3):
            writer.write(b"x" * n_bytes)
            await until(lambda: serving.protocol._n_body_bytes == n_bytes)
            serving.protocol._rest_is_overdue()
        writer.write(b"x" * n_bytes)
        await reader.readuntil(b"hello")
        writer.write(POST % (2 * n_bytes))
        await until(lambda: serving.protocol._rest.is_waiting)
        writer.write(b"x" * (n_bytes - 1))
        await until(lambda: serving.protocol._n_body_bytes == n_bytes - 1)
        serving.protocol._rest_is_overdue()
        assert refusal(await reader.read()) == (408, "request_timeout")
        writer.close()


async def test_who_waits_for_a_word_before_the_body_is_given_it_and_takes_nobodys_place():
    expecting = b"POST /body HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    async with Serving() as serving, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*serving.address)
        writer.write(GET + b"\r\n" + expecting)
        got = await reader.readuntil(b" 100 Continue\r\n\r\n")
        assert got.count(b"hello") == 1
        assert serving.asked == ["/"]
        writer.write(b"12345")
        assert (await reader.readuntil(b"12345")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_who_waits_for_that_word_behind_a_slow_reply_is_not_found_late():
    expecting = b"POST /body HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    async with Serving() as serving:
        _, reader, writer = await asked(serving, "/parts", lambda got: got.endswith(b"he"))
        writer.write(expecting)
        await until(lambda: serving.protocol._rest.is_waiting)
        serving.protocol._rest_is_overdue()
        serving.go.set()
        assert (await reader.readuntil(b" 100 Continue\r\n\r\n")).startswith(b"llo")
        writer.write(b"12345")
        assert (await reader.readuntil(b"12345")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_what_comes_of_a_body_with_its_head_counts():
    n_bytes = protocol._LEAST_BYTES
    async with Serving() as serving, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*serving.address)
        writer.write(POST % (n_bytes + 1) + b"x" * n_bytes)
        await until(lambda: serving.protocol and serving.protocol._n_body_bytes == n_bytes)
        serving.protocol._rest_is_overdue()
        writer.write(b"x")
        await reader.readuntil(b"hello")
        writer.close()


async def test_a_reply_makes_nobody_read_on_while_many_are_waiting(monkeypatch):
    n_waiting = []
    async with Serving() as serving:
        _, _, writer = await asked(serving, "/parts", lambda got: got.endswith(b"he"))
        flow = serving.protocol.flow
        resume = flow.resume_reading
        monkeypatch.setattr(
            type(flow), "resume_reading", lambda self: (n_waiting.append(len(serving.protocol.pipeline)), resume())
        )
        writer.write((GET + b"\r\n") * 100)
        await until(lambda: flow.read_paused)
        serving.go.set()
        await until(lambda: len(serving.asked) == 101)
        writer.close()
    assert max(n_waiting) <= protocol._MOST_AHEAD


async def endless(writer):
    """Send a body without end, until the connection is closed."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"5\r\nhello\r\n" * 1_000)
            await writer.drain()


async def test_a_body_that_goes_on_after_its_reply_is_not_listened_to_for_long(monkeypatch):
    monkeypatch.setattr(protocol, "_PATIENCE_S", 0.1)
    async with Serving() as serving, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*serving.address)
        writer.write(CHUNKED.replace(b"/wait", b"/"))
        sending = asyncio.create_task(endless(writer))
        got = b""
        with contextlib.suppress(ConnectionError):
            got = await reader.readuntil(b"hello")
            # Only one reply, and then the end.
            assert await reader.read() == b""
        await sending
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_a_connection_on_which_nothing_is_ever_sent_is_closed():
    async with Serving(keep_alive_s=0.05) as serving, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*serving.address)
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_whose_body_ended_after_its_reply_is_closed_when_nobody_uses_it_any_more():
    body = b"x" * 100_000
    async with Serving(keep_alive_s=0.2) as serving, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*serving.address)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (len(body) + 1) + body)
        await reader.readuntil(b"hello")
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()
