"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a request that is repeated counts once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from telelink_gateway.history.store import KeptReply
from telelink_shared.problem import IdempotencyKeyReused, MalformedIdempotencyKey
from telelink_shared.web.headers import values_of

MAX_LENGTH: Final = 255
# A string as RFC 9651 writes it, as the draft asks; or the bare word that many clients send instead.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_BARE: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")
_REPLAYED: Final = {"Cache-Control": "no-store", "Idempotency-Replayed": "true"}


@dataclass(frozen=True)
class RequestKey:
    """What a request is repeated under.

    Attributes:
        fingerprint: of address, query and body, and of whether half an answer will do; the same key with another one is
            a mistake of the client's.
    """

    key: str
    fingerprint: bytes

    def reply(
        self, body: bytes, *, prediction_id: str, degraded: str | None, created_at_ms: int, lifetime_hours: float
    ) -> KeptReply:
        """What is kept for those who repeat it."""
        expires_at_ms = created_at_ms + int(lifetime_hours * 3_600_000)
        return KeptReply(self.key, self.fingerprint, prediction_id, degraded, body, created_at_ms, expires_at_ms)

    def replay(self, kept: KeptReply) -> Response:
        """The reply of the first time.

        Raises:
            IdempotencyKeyReused: this is another request.
        """
        if kept.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another body, address, query or preference. Use a new key."
            )
        headers = _REPLAYED | {"X-Prediction-Id": kept.prediction_id}
        if kept.degraded is not None:
            headers["X-Degraded"] = kept.degraded
        return Response(kept.body, headers=headers, media_type="application/json")


def is_lenient(request: Request) -> bool:
    """Whether the client takes half an answer (RFC 7240)."""
    values = values_of(request.scope, b"prefer")
    if not values:
        return False
    preferences = ",".join(values).lower().replace(" ", "").replace('"', "")
    return "handling=lenient" in preferences.replace(";", ",").split(",")


def request_key(request: Request, body: bytes) -> RequestKey | None:
    """The key that the request carries; None without the header.

    Raises:
        MalformedIdempotencyKey: several keys, none, or one that is too long or has other characters.
    """
    values = values_of(request.scope, b"idempotency-key")
    if not values:
        return None
    value = values[0].strip(" \t")
    quoted = _QUOTED.fullmatch(value)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value
    if len(values) > 1 or len(key) > MAX_LENGTH or not (quoted or _BARE.fullmatch(value)):
        raise MalformedIdempotencyKey(
            f'Send one key of 1 to {MAX_LENGTH} printable ASCII characters, as in Idempotency-Key: "8e03978e-40d5".'
        )
    # Of whoever sends it: two clients that count from 1 know nothing of each other.
    if caller := request.scope.get("caller"):
        key = f"{caller}\n{key}"
    address = f"{request.url.path}?{request.url.query}\n{'lenient' if is_lenient(request) else ''}".encode()
    return RequestKey(key, hashlib.sha256(address + body).digest())
