"""What is taken in is bounded, and head and body of a reply leave together, over real sockets."""

import asyncio
import contextlib
import json
import socket
import struct

import pytest
import uvicorn

from telelink_shared.web import protocol
from telelink_shared.web.protocol import HANG_UP, MAX_HEAD_BYTES, WholeReplies
from telelink_shared.web.shedding import shedding_protocol

LONG = 3 * 1024 * 1024


async def whole_body(receive):
    """What is sent; None when its client has gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def app(scope, receive, send):
    """Answers /long with much, /parts bit by bit, /wait after the body, /body with it, and others with a few bytes.

    /listen begins to answer and goes on until its client has gone.
    """
    if scope["type"] != "http":
        return
    body = b"x" * LONG if scope["path"] == "/long" else b"hello"
    if scope["path"] in ("/wait", "/body"):
        if (received := await whole_body(receive)) is None:
            return
        body = received if scope["path"] == "/body" else body
    headers = [(b"content-length", str(len(body)).encode())]
    if scope["path"] == "/close":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/listen":
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        assert await whole_body(receive) == b""
        scope["state"]["begun"].set()
        assert (await receive())["type"] == "http.disconnect"
        scope["state"]["left"].set()
        return
    if scope["path"] == "/parts":
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        scope["state"]["begun"].set()
        await scope["state"]["go"].wait()
        body = body[2:]
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(autouse=True)
def short_last_words(monkeypatch):
    monkeypatch.setattr(protocol, "_LAST_WORD_S", 0.2)


class Serving:
    """The application on a free port.

    Attributes:
        go: lets /parts go on.
        begun: set by /parts and /listen.
        left: set by /listen when its client has gone.
        hung_up: set by a client that left before its reply.
        asked: paths that the application was asked for.
        sent: what each write was given.
        headers: of each request, as they are once it is answered.
        protocol: of the latest connection, if there was one.
    """

    def __init__(self, base=WholeReplies, *, keep_alive_s=5.0):
        self.base = base
        self.keep_alive_s = keep_alive_s

    async def __aenter__(self):
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self.asked = []
        self.protocol = None
        self.sent = sent = []

        serving = self

        class Recording(self.base):
            def connection_made(self, transport):
                super().connection_made(transport)
                serving.protocol = self
                write = self.together._transport.write
                self.together._transport = Recorded(transport, lambda data: (sent.append(bytes(data)), write(data)))

        self.hung_up = asyncio.Event()
        self.headers = []

        async def with_go(scope, receive, send):
            scope[HANG_UP] = self.hung_up.set
            self.asked.append(scope["path"])
            await app(scope | {"state": {"go": self.go, "begun": self.begun, "left": self.left}}, receive, send)
            self.headers.append(scope["headers"])

        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            with_go,
            http=Recording,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
            server_header=False,
            timeout_keep_alive=self.keep_alive_s,
            # Whoever is never told that a client has gone does not hold up the test that looks for it.
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.task = asyncio.create_task(self.server._serve([listener]))
        self.address = listener.getsockname()
        return self

    async def __aexit__(self, *_):
        # A test that fails must not wait for what it holds back.
        self.go.set()
        self.server.should_exit = True
        await self.task


class Recorded:
    """A transport whose writes are looked at."""

    def __init__(self, transport, write):
        self._transport = transport
        self.write = write

    def __getattr__(self, name):
        return getattr(self._transport, name)


async def asked(serving, path, until):
    """Bytes that come back for a GET, up to the first that satisfy `until`, and the streams."""
    reader, writer = await asyncio.open_connection(*serving.address)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    got = b""
    async with asyncio.timeout(10):
        while not until(got) and (more := await reader.read(65_536)):
            got += more
    return got, reader, writer


async def until(condition):
    """Let the server work until it has come so far."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


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


def reset(writer):
    """Break the connection off: it ends with an error for the server, not as one that is closed."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def spoken(serving, *parts, pause_s=0.01):
    """All that comes back until the server hangs up, for parts that are sent one after the other."""
    reader, writer = await asyncio.open_connection(*serving.address)

    async def send():
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)

    async with asyncio.timeout(15):
        sending = asyncio.create_task(send())
        got = await reader.read()
        await sending
    writer.close()
    return got


def refusal(got):
    """Status and code of the one reply, which is a problem document."""
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json\r\n" in head
    assert b"content-length: %d\r\n" % len(body) in head
    assert head.endswith(b"connection: close")
    assert b"canary" not in got
    return int(head.split()[1]), json.loads(body)["code"]


GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
LAST = b"GET /close HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"POST /wait HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


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
