"""Sessions of people who have signed in at the page with a key: kept in memory, and gone with the process."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

LIFETIME_S: Final = 12 * 3600
# The oldest makes room. Nobody without a key can open one.
MOST: Final = 10_000


class _Session(NamedTuple):
    key_id: str
    key_sha256: bytes
    ends_at: float


class Sessions:
    """Which token stands for which key. Only hashes of tokens are kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[bytes, _Session] = {}

    def open(self, key_id: str, key_sha256: bytes) -> str:
        """A token for whoever has shown this key."""
        if len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_urlsafe(32)
        self._sessions[_hashed(token.encode())] = _Session(key_id, key_sha256, self._clock() + LIFETIME_S)
        return token

    def find(self, token: bytes) -> tuple[str, bytes] | None:
        """Id and hash of the key that was shown, while the session lasts."""
        hashed = _hashed(token)
        session = self._sessions.get(hashed)
        if session is None:
            return None
        if session.ends_at <= self._clock():
            del self._sessions[hashed]
            return None
        return session.key_id, session.key_sha256

    def close(self, token: bytes) -> None:
        """End it, if there is one."""
        self._sessions.pop(_hashed(token), None)


def _hashed(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
