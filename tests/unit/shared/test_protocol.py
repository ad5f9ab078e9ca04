"""Head and body of a reply leave together, over real sockets."""

import asyncio
import socket

import uvicorn

from telelink_shared.web.protocol import HANG_UP, WholeReplies

LONG = 3 * 1024 * 1024


async def app(scope, receive, send):
    """Answers /long with much, /parts bit by bit, and everything else with a few bytes."""
    if scope["type"] != "http":
        return
    body = b"x" * LONG if scope["path"] == "/long" else b"hello"
    headers = [(b"content-length", str(len(body)).encode())]
    if scope["path"] == "/close":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/parts":
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await scope["state"]["go"].wait()
        body = body[2:]
    await send({"type": "http.response.body", "body": body})


class Serving:
    """The application on a free port.

    Attributes:
        go: lets /parts go on.
        hung_up: set by a client that left before its reply.
        sent: what each write was given.
    """

    async def __aenter__(self):
        self.go = asyncio.Event()
        self.sent = sent = []

        class Recording(WholeReplies):
            def connection_made(self, transport):
                super().connection_made(transport)
                write = self.together._transport.write
                self.together._transport = Recorded(transport, lambda data: (sent.append(bytes(data)), write(data)))

        self.hung_up = asyncio.Event()

        async def with_go(scope, receive, send):
            scope[HANG_UP] = self.hung_up.set
            await app(scope | {"state": {"go": self.go}}, receive, send)

        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            with_go,
            http=Recording,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
            server_header=False,
        )
        self.server = uvicorn.Server(config)
        self.task = asyncio.create_task(self.server._serve([listener]))
        self.address = listener.getsockname()
        return self

    async def __aexit__(self, *_):
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


async def test_the_last_reply_of_a_connection_is_sent_before_it_is_closed():
    async with Serving() as serving:
        got, reader, writer = await asked(serving, "/close", lambda got: got.endswith(b"hello"))
        assert await reader.read() == b""
        writer.close()
    assert serving.sent == [got]
