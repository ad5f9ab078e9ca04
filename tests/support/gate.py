"""A TCP relay in front of a model service that lets some calls through and holds the others until it is opened."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Gate:
    """What passes is not changed.

    Args:
        target: address of the service.
        n_calls: for inference, that are let through.

    Attributes:
        n_as_bytes: calls that came with tensors as bytes.
    """

    def __init__(self, target: str, n_calls: int) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._n_left = n_calls
        self.n_as_bytes = 0
        self._lock = threading.Lock()
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def open(self) -> None:
        """Let everything through."""
        self._opened.set()

    def run(self) -> None:
        """Until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self.open()
        # Closing alone does not wake up whoever waits in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as service:
            back = threading.Thread(target=_copy, args=(service, client), daemon=True)
            back.start()
            while data := client.recv(65_536):
                # A head begins a request, and so what is received: nobody sends the next before the reply.
                if data.startswith(b"POST /v2/models/"):
                    self.n_as_bytes += b"inference-header-content-length" in data.lower()
                    self._wait()
                service.sendall(data)

    def _wait(self) -> None:
        with self._lock:
            self._n_left -= 1
            passes = self._n_left >= 0
        if not passes:
            self._opened.wait()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def gate(target: str, *, n_calls: int) -> Iterator[Gate]:
    """A running one."""
    running = Gate(target, n_calls)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.close()
        thread.join(timeout=5)
