"""What a connection takes of a peer that says more than it was asked for."""

import asyncio

import pytest
from aiohttp import ClientResponseError
from aiohttp.http import HttpProcessingError

from telelink_gateway.upstream.one_reply import OneReply

HINT = b"HTTP/1.1 103 Early Hints\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.is_aborted = False

    def abort(self):
        self.is_aborted = True

    def is_closing(self):
        return self.is_aborted

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


@pytest.fixture
async def connection():
    """With a request under way."""
    made = OneReply(asyncio.get_running_loop())
    made.connection_made(Transport())
    made.set_response_params()
    return made


async def test_a_reply_is_taken(connection):
    connection.data_received(REPLY)
    message, body = await connection.read()
    assert (message.code, await body.read()) == (200, b"{}")
    assert not connection.transport.is_aborted


@pytest.mark.parametrize("cut", [0, len(HINT), 40])
async def test_an_interim_reply_ends_it_and_nothing_behind_it_is_taken(connection, cut):
    data = HINT + REPLY
    for part in (data[:cut], data[cut:]):
        connection.data_received(part)
    assert connection.transport.is_aborted
    with pytest.raises((ClientResponseError, HttpProcessingError), match="interim"):
        await connection.read()


@pytest.mark.parametrize("size", [2, 20_000])
async def test_a_second_reply_ends_it_and_no_more_than_a_piece_of_it_is_parsed(connection, size):
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b" " * size
    n_parsed = 0
    feed = connection._parser.feed_data

    class Counting:
        def feed_data(self, data):
            nonlocal n_parsed
            n_parsed += len(data)
            return feed(data)

    connection._parser = Counting()
    connection.data_received(reply + REPLY * 6_000)
    assert connection.transport.is_aborted
    assert n_parsed < len(reply) + 2 * 8_192
