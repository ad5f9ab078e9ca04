"""An application behind the server's HTTP protocol on a free port, and clients that write bytes to it."""

import asyncio
import contextlib
import json
import socket
import struct

import uvicorn

from telelink_shared.web.protocol import HANG_UP, WholeReplies

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
