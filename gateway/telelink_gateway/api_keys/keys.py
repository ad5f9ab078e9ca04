"""API keys as a file holds them: who they belong to, what they may do, and what proves that one is right."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Scope = Literal["predict", "history", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
# The old one and the new one while programs change over.
MAX_KEYS_OF_A_NAME: Final = 2
# Known to whoever looks for secrets in what was published by mistake.
PREFIX: Final = "tlk_"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_LONGEST: Final = 128


class KeysFileError(Exception):
    """The file of keys cannot be used; the message never repeats what is in it."""


@dataclass(frozen=True)
class ApiKey:
    """A key without the key.

    Attributes:
        id: the part of the key's text that is no secret.
        sha256: of the key's whole text.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    sha256: bytes
    created_at: str


Keys = Mapping[str, ApiKey]
"""By id."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    scopes: list[Scope] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: str = Field(max_length=40)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[_Entry]


def digest(text: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(text).digest()


def new_key(name: str, scopes: Sequence[Scope]) -> tuple[str, ApiKey]:
    """A key's text, to be told once, and what is kept of it."""
    key_id = secrets.token_hex(_ID_BYTES)
    text = f"{PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    return text, ApiKey(key_id, name, frozenset(scopes), digest(text.encode()), created_at)


def id_in(text: bytes) -> str | None:
    """The id that a key's text names, if it can be a key at all."""
    if len(text) > _LONGEST or not text.startswith(PREFIX.encode()):
        return None
    return text[len(PREFIX) :].partition(b"_")[0].decode("ascii", "replace")


def _entries(keys: Keys) -> list[_Entry]:
    return [
        _Entry(
            id=key.id,
            name=key.name,
            scopes=[scope for scope in SCOPES if scope in key.scopes],
            sha256=key.sha256.hex(),
            created_at=key.created_at,
        )
        for key in keys.values()
    ]


def read_keys(path: Path) -> Keys:
    """The keys in a file.

    Raises:
        KeysFileError
    """
    try:
        entries = _File.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"] if isinstance(part, int) or part in _File.model_fields)
        raise KeysFileError(f"{path} is not a file of API keys ({first['type']} at /{where})") from error
    keys = {
        entry.id: ApiKey(entry.id, entry.name, frozenset(entry.scopes), bytes.fromhex(entry.sha256), entry.created_at)
        for entry in entries
    }
    if len(keys) < len(entries):
        raise KeysFileError(f"{path} has two keys of one id")
    if max(Counter(key.name for key in keys.values()).values(), default=0) > MAX_KEYS_OF_A_NAME:
        raise KeysFileError(f"{path} has more than {MAX_KEYS_OF_A_NAME} keys of one name")
    return keys


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The folder, since the file itself is replaced.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def write_keys(path: Path, keys: Keys) -> None:
    """Replace the file in one step; nobody but its owner, who stays the same, may read it."""
    content = _File(keys=_entries(keys)).model_dump_json(indent=2) + "\n"
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # Who runs the command need not be who runs the gateway.
        with suppress(FileNotFoundError, PermissionError):
            before = path.stat()
            os.fchown(descriptor, before.st_uid, before.st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
