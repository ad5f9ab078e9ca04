"""Requests that are wrong, or may be, drawn from a seed, and sent as bytes so that no client library mends them."""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from support.builders import a_customer, some_customers, v2_request, with_usage

Headers = list[tuple[bytes, bytes]]
# What the interface's description says of an Idempotency-Key.
MAX_KEY_LENGTH = 255


@dataclass(frozen=True)
class Hostile:
    """A request.

    Attributes:
        is_valid: None where it may be either.
    """

    method: bytes
    path: bytes
    headers: Headers
    body: bytes
    is_valid: bool | None


@dataclass
class Reply:
    """What came back; status 0 when the server hung up without a word."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Fuzzer:
    """Draws requests for the gateway and the model services.

    Args:
        canary: a word that is planted wherever there is room for one, and must come back nowhere.
    """

    def __init__(self, seed: int, canary: str) -> None:
        self._random = random.Random(seed)
        self._canary = canary
        self._n_keys = 0

    def _value(self) -> Any:
        """Nothing that any field takes."""
        word = self._canary
        return self._random.choice(
            [
                word, f"{word}\r\n{word}", f"\x00{word}", f"</script>{word}", f"=cmd|{word}", word * 20,
                f"{word}\u2028", "é" * 500 + word, {word: word}, [word], [[[[word]]]], [], {}, {"": word}, -1, -0.5,
                1e308, 10**30, -(10**400),
                float("nan"), float("inf"), float("-inf"), {"state": {"state": word}},
            ]
        )  # fmt: skip

    def _wrong_fields(self, customer: dict[str, Any]) -> None:
        """At least one of a customer's fields gets a value that it must not have."""
        draw = self._random
        for name in draw.sample([name for name in customer if name != "customerId"], draw.choice([1, 1, 1, 2, 5])):
            customer[name] = self._value()
        if draw.random() < 0.3:
            customer[f"{self._canary}{draw.randrange(9)}"] = self._value()
        if draw.random() < 0.1:
            customer |= {f"{self._canary}{number}": 0 for number in range(draw.choice([30, 300]))}

    def _wrong_object(self, valid: dict[str, Any]) -> Any:
        draw, wrong = self._random, json.loads(json.dumps(valid))
        kind = draw.randrange(5)
        if kind == 0:
            del wrong[draw.choice(list(a_customer()))]
        elif kind == 1:
            wrong[f"{self._canary}/~{draw.randrange(9)}"] = self._value()
        elif kind == 2:
            return draw.choice([self._canary, None, True, 1.5, [self._canary], [[valid]], {self._canary: valid}])
        else:
            self._wrong_fields(wrong)
        return wrong

    def _wrong_text(self, text: bytes) -> bytes:
        """Not JSON, or doubtful JSON, whatever valid JSON object or array of objects it is made from."""
        word, draw = self._canary.encode(), self._random
        at = draw.randrange(1, len(text))
        twice = b'{"%s":1,"%s":2,' % (word, word)
        wrongs: list[Callable[[], bytes]] = [
            lambda: text[:at].rstrip()[:-1] + b"\x00",
            lambda: text[:at] + b"\xff\xfe" + word + text[at:],
            lambda: b"\xef\xbb\xbf" + text,
            lambda: text.decode().encode("utf-16"),
            lambda: text + word,
            lambda: b"[" * draw.choice([300, 3_000, 60_000]),
            lambda: b'{"%s":' % word * draw.choice([300, 3_000]),
            lambda: text.replace(b"{", twice, 1),
            lambda: text.replace(b'"', b"'"),
            lambda: text.replace(b":", b':"\\ud800%s",' % word, 1),
            lambda: text.replace(b":", b":" + b"9" * draw.choice([5_000, 50_000]), 1),
            lambda: text.replace(b'{"', b'{"\x01%s":0,"' % word, 1),
            lambda: b"",
            lambda: b" \n\t" * 100,
            lambda: b"<" + word + b"/>",
            lambda: b"%s=1&%s=2" % (word, word),
        ]
        return draw.choice(wrongs)()

    def _maybe_wrong_bytes(self, text: bytes) -> bytes:
        changed = bytearray(text)
        for _ in range(self._random.choice([1, 1, 2, 8])):
            changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed)

    def _body(self, valid: dict[str, Any], make: Callable[[Any], Any]) -> tuple[bytes, bool | None]:
        """Args: make: from a customer, or what stands for one, to the body."""
        kind = self._random.random()
        if kind < 0.1:
            return json.dumps(make(valid)).encode(), True
        if kind < 0.5:
            return json.dumps(make(self._wrong_object(valid))).encode(), False
        text = json.dumps(make(valid)).encode()
        if kind < 0.85:
            return self._wrong_text(text), False
        return self._maybe_wrong_bytes(text), None

    def _v2_body(self) -> tuple[bytes, bool | None]:
        draw = self._random
        valid = v2_request([with_usage()] * draw.choice([1, 3]))
        kind = draw.random()
        if kind < 0.1:
            return json.dumps(valid).encode(), True
        if kind < 0.4:
            tensor = draw.choice(valid["inputs"])
            tensor[draw.choice(["shape", "datatype", "data", "name"])] = self._value()
            return json.dumps(valid).encode(), False
        if kind < 0.5:
            valid |= {draw.choice(["inputs", "outputs"]): self._value() or 1}
            return json.dumps(valid).encode(), False
        text = json.dumps(valid).encode()
        return (self._wrong_text(text), False) if kind < 0.85 else (self._maybe_wrong_bytes(text), None)

    def _new_key(self) -> bytes:
        """One that nothing was asked under: used for another request it would be refused."""
        self._n_keys += 1
        return b"%s-%d" % (self._canary.encode(), self._n_keys)

    def _headers(self) -> tuple[Headers, bool]:
        """Headers and whether they are in order, but for what only some routes read."""
        draw, word = self._random, self._canary.encode()
        headers: Headers = [(b"Host", b"localhost")]
        is_valid = True
        if draw.random() < 0.15:
            wrong = [b"text/plain", b"multipart/form-data; boundary=" + word, word, b"application/json;charset=" + word]
            headers.append((b"Content-Type", draw.choice(wrong)))
            is_valid = False
        else:
            headers.append((b"Content-Type", b"application/json"))
        oddities = [
            (b"X-Request-ID", word + b" " + word),
            (b"X-Request-ID", b'"},{"event":"' + word + b'"'),
            (b"X-Request-ID", b"\xff\x80" + word),
            (b"traceparent", b"00-" + word),
            (b"Prefer", b"handling=" + word + b"," + word * 50),
            (b"X-Forwarded-For", word),
            (b"Accept", word + b"/*;q=9"),
            (b"Authorization", b"Bearer " + word),
            (b"Cookie", b"telelink_session=" + word),
            (b"Idempotency-Key", draw.choice([self._new_key(), word * 100])),
            (b"Origin", b"https://" + word),
            (b"Expect", b"100-continue"),
            (word, word),
        ]
        headers += draw.sample(oddities, draw.choice([0, 0, 1, 2]))
        return headers, is_valid

    def for_gateway(self) -> Hostile:
        """A request for the public interface."""
        draw, word = self._random, self._canary.encode()
        headers, in_order = self._headers()
        if draw.random() < 0.1:
            paths = [
                b"/" + word,
                b"/problems/" + word,
                b"/problems/" + word * 500,
                b"/%0a%0d" + word,
                b"/../" + word,
                b"/docs-assets/../../" + word,
                b"/%ff%00" + word,
                b"/v1/" + word + b"?" + word,
            ]
            return Hostile(b"GET", draw.choice(paths), headers, b"", False)
        if draw.random() < 0.05:
            method = draw.choice([b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"])
            return Hostile(method, draw.choice([b"/predict", b"/stats", b"/v1/what-if"]), headers, b"", False)
        customer = {"customerId": "c1"} | some_customers(1, seed=draw.randrange(100))[0]
        path, make = draw.choice(
            [
                (b"/predict", lambda each: each),
                (b"/batch-predict", lambda each: [with_usage()] * draw.choice([0, 2, 30]) + [each]),
                (b"/v1/what-if", lambda each: {"customer": each, "goal": "Low"}),
                (b"/v1/what-if", lambda each: {"customer": each, "changes": {"voiceMailPlan": "no"}}),
            ]
        )
        body, is_valid = self._body(customer, make)
        if path != b"/v1/what-if":
            in_order = in_order and has_a_fit_key(headers)
            if draw.random() < 0.1:
                path += b"?include=" + draw.choice([word, b"models," + word, b"%00" + word, word * 300])
                is_valid = False
        return Hostile(b"POST", path, headers, body, is_valid if in_order else False)

    def for_service(self, model: str) -> Hostile:
        """A request for a model service."""
        draw, word = self._random, self._canary.encode()
        headers, in_order = self._headers()
        name = model.encode()
        if draw.random() < 0.15:
            wrong = [
                (b"GET", b"/v2/models/" + word, b""),
                (b"GET", b"/v2/models/" + name + b"/versions/" + word, b""),
                (b"POST", b"/v2/models/" + name + b"/versions/" + word * 100 + b"/infer", b"{}"),
                (b"POST", b"/v2/repository/models/" + word + b"/load", b"{}"),
                (
                    b"POST",
                    b"/v2/repository/models/" + name + b"/load",
                    b'{"parameters":{"version":"../%s\\n"}}' % word,
                ),
                (b"POST", b"/v2/repository/index", b'{"ready":"%s"}' % word),
            ]
            return Hostile(*draw.choice(wrong)[:2], headers, draw.choice([b"{}", b'{"ready":"' + word + b'"}']), None)
        body, is_valid = self._v2_body()
        return Hostile(b"POST", b"/v2/models/" + name + b"/infer", headers, body, is_valid if in_order else False)


def has_a_fit_key(headers: Headers) -> bool:
    """Whether a request's Idempotency-Key, if there is one, is as short as it must be."""
    return all(len(value) <= MAX_KEY_LENGTH for name, value in headers if name == b"Idempotency-Key")


class RawClient:
    """Sends bytes over one kept connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, request: Hostile) -> Reply:
        """One request, its length told truly."""
        lines = [b"%s %s HTTP/1.1" % (request.method, request.path)]
        lines += [name + b": " + value for name, value in request.headers]
        lines += [b"Content-Length: %d" % len(request.body), b"", b""]
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=30)
        response = http.client.HTTPResponse(self._socket, method=request.method.decode())
        try:
            self._socket.sendall(b"\r\n".join(lines) + request.body)
            response.begin()
            reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            is_over = response.will_close
        except (ConnectionError, http.client.RemoteDisconnected):
            reply, is_over = Reply(), True
        finally:
            response.close()
        if is_over:
            self.close()
        return reply
