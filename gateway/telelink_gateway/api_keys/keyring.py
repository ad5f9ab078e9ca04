"""The keys in force: those of the file as it is now, looked at again once a second."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from telelink_gateway.api_keys.keys import ApiKey, Keys, KeysFileError, digest, id_in, read_keys

LOOK_EVERY_S: Final = 1.0
# Compared with where there is no such key, so that both take as long.
_NO_KEY: Final = bytes(32)

log = structlog.get_logger()


class Keyring:
    """What a key's text proves.

    Args:
        path: must be in order now. When it is not later on, the keys stay that were in force.

    Raises:
        KeysFileError
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._seen = self._state()
        self._keys: Keys = read_keys(path)
        self._looked_at = clock()
        self._is_behind = False

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, text: bytes) -> ApiKey | None:
        """The key with this text."""
        self._look()
        key_id = id_in(text)
        key = None if key_id is None else self._keys.get(key_id)
        is_right = hmac.compare_digest(_NO_KEY if key is None else key.sha256, digest(text))
        return key if is_right else None

    def with_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, which somebody has proved to have."""
        self._look()
        return self._keys.get(key_id)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        state = self._state()
        has_changed, self._seen = state != self._seen, state
        # What could not be read may be readable now, though nothing of it has changed.
        if has_changed or self._is_behind:
            self._read_again(is_first_try=has_changed)

    def _read_again(self, *, is_first_try: bool) -> None:
        try:
            self._keys = read_keys(self._path)
        except KeysFileError as error:
            self._is_behind = True
            if is_first_try:
                log.error("API keys not read again, the old ones stay", reason=str(error), keys=len(self._keys))
        else:
            self._is_behind = False
            log.info("API keys read again", keys=len(self._keys))

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
