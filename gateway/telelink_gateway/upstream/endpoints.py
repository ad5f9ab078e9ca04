"""Where a service is: the addresses behind its name, looked up again and again while the gateway runs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final
from urllib.parse import urlsplit

import structlog

from telelink_gateway.upstream.failure import Failure

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses behind a name; the port is for those who look it up by service."""

# With a probe a second, a container that comes back with another address is in use within three.
NAME_AGE_S: Final = 2.0
# After a connection that failed, the name is worth another look so soon.
_DOUBTED_NAME_AGE_S: Final = 0.2
# Nobody waits longer for a name server while there are addresses to go on with.
_LOOKUP_S: Final = 0.5
# An address that failed is asked only if there is no other.
AVOIDED_S: Final = 10.0

log = structlog.get_logger()


async def look_up(host: str, port: int) -> Sequence[str]:
    """What the system says: the IPv4 addresses, or the IPv6 ones where there is none.

    Not both: our services listen at one family, and an address where nobody listens would cost a retry.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family = {
        family: [str(address[0]) for its_family, *_, address in found if its_family == family]
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    return by_family[socket.AF_INET] or by_family[socket.AF_INET6]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Endpoints:
    """The addresses of one service, in turn.

    Args:
        url: of the service, with a name or an address.
        resolve: how a name is looked up.

    Attributes:
        host: for the Host header.
        tls_name: the name to ask for in a TLS handshake; None without TLS.
    """

    def __init__(self, url: str, resolve: Resolve = look_up) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host = parts.netloc.rpartition("@")[2]
        self.tls_name = parts.hostname if parts.scheme == "https" else None
        self._parts = parts
        self._name = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._resolve = resolve
        self._is_fixed = _is_address(self._name)
        self._bases: Sequence[str] = [url] if self._is_fixed else []
        self._stale_from = 0.0
        self._looked_up_at = 0.0
        self._lookup: asyncio.Task[None] | None = None
        self._avoided: dict[str, float] = {}
        self._turn = 0

    async def pick(self, now: float, *, not_this: str | None = None) -> str:
        """The next address, as the beginning of a URL: of those that did not fail just now, if there is one.

        Args:
            now: on the event loop's clock.
            not_this: only if there is no other.

        Raises:
            Failure: nothing is known behind the name.
        """
        if not self._is_fixed and now >= self._stale_from:
            await self._wait_for_lookup(now)
        bases = self._bases
        if len(bases) == 1:
            return bases[0]
        if not bases:
            raise Failure("connect", "there is no address behind the name")
        others = [base for base in bases if base != not_this]
        good = [base for base in others if self._avoided.get(base, now) <= now] or others
        self._turn += 1
        return good[self._turn % len(good)]

    def avoid(self, base: str, now: float) -> None:
        """It failed, or is about to stop: prefer others for a while, and see whether the name means others by now."""
        if not self._is_fixed:
            self._avoided[base] = now + AVOIDED_S
            self._stale_from = min(self._stale_from, self._looked_up_at + _DOUBTED_NAME_AGE_S)

    async def _wait_for_lookup(self, now: float) -> None:
        if self._lookup is None:
            # In a context of its own: whoever comes first only happens to need it.
            self._lookup = asyncio.get_running_loop().create_task(self._look_up(), context=Context())
        # With nothing known, whoever waits does so until the own deadline.
        await asyncio.wait({self._lookup}, timeout=_LOOKUP_S if self._bases else None)
        if self._lookup is not None:  # a slow name server: go on with what is known
            self._stale_from = now + NAME_AGE_S

    async def _look_up(self) -> None:
        try:
            addresses = await self._resolve(self._name, self._port)
        except (OSError, UnicodeError) as error:
            # What was known goes on: a name server that is out is no reason to lose a service that is not.
            log.warning("name not found", upstream=self.host, reason=type(error).__name__)
            addresses = []
        finally:
            self._lookup = None
        self._looked_up_at = asyncio.get_running_loop().time()
        self._stale_from = self._looked_up_at + NAME_AGE_S
        bases = [self._base(address) for address in dict.fromkeys(addresses)]
        if bases and set(bases) != set(self._bases):
            self._bases = bases
            self._avoided = {base: until for base, until in self._avoided.items() if base in bases}
            log.info("addresses changed", upstream=self.host, addresses=bases)

    def _base(self, address: str) -> str:
        user, at, _ = self._parts.netloc.rpartition("@")
        host = f"[{address}]" if ":" in address else address
        return self._parts._replace(netloc=f"{user}{at}{host}:{self._port}").geturl()

    async def close(self) -> None:
        """Wait for no name any longer."""
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait({self._lookup})
