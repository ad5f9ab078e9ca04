"""A file scored by a running gateway, as a job: sent, waited for and fetched, each of which goes on after a breach.

What has been done is kept beside the result, so that the same command given again goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TypeVar

import httpx
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, ValidationError

from telelink_score.errors import GatewayError
from telelink_score.files import Pair
from telelink_score.scoring import Outcome, write_faults
from telelink_score.whole import mode_of, whole_file
from telelink_shared.bulk.summary import Group, Summary
from telelink_shared.bulk.table import MEDIA_TYPES, Fault

Answer = TypeVar("Answer")
Reply = TypeVar("Reply", bound=BaseModel)

_MEDIA_TYPE_OF: Final = {format: media_type for media_type, format in MEDIA_TYPES.items()}
_BLOCK_BYTES: Final = 256 * 1024
_LOOK_S: Final = 0.5
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
# A gateway that is replaced or restarted is back within that.
_PATIENCE_S: Final = 120.0
_ERRORS_PER_PAGE: Final = 1_000
_MOST_JOBS: Final = 3


class Told(Protocol):
    """What is told of how far it is."""

    def __call__(self, step: str, done: float, total: float | None, /) -> object:
        """`done` of `total`: bytes sent or fetched, or customers scored (the total not known)."""
        ...


@dataclass(frozen=True)
class Gateway:
    """Where it is, and who asks.

    Attributes:
        key: an API key; None where the gateway asks for none.
    """

    url: str
    key: str | None


class _Kept(BaseModel):
    """What is kept beside a result until it is there.

    Attributes:
        about: of which file, gateway and mapping it is.
        key: the Idempotency-Key under which the file is sent.
        job: its address, once there is one.
        etag: of the result that has been fetched in part.
    """

    about: dict[str, Any]
    key: str
    job: str | None = None
    etag: str | None = None


class _Job(BaseModel):
    state: str
    rows_done: int = 0
    failure: str | None = None


class _Errors(BaseModel):
    total: int
    errors: list[Fault]


class _GroupTold(BaseModel):
    customers: int
    high_risk_customers: int
    value_at_risk: FiniteFloat


class _SummaryTold(BaseModel):
    customers: NonNegativeInt
    failed: NonNegativeInt
    tiers: dict[str, _GroupTold]
    states: dict[str, _GroupTold]


class _NotUnderstood(GatewayError):
    """What answers is no gateway of ours."""

    def __init__(self, reason: str = "it does not answer as a gateway does: is the address right?") -> None:
        super().__init__(reason)


class RemoteScoring:
    """The scoring of one file by a gateway."""

    def __init__(
        self,
        gateway: Gateway,
        pair: Pair,
        mapping: dict[str, str],
        told: Told,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._pair = pair
        self._mapping = mapping
        self._told = told
        self._url = gateway.url.rstrip("/")
        headers = {} if gateway.key is None else {"Authorization": f"Bearer {gateway.key}"}
        self._http = httpx.Client(base_url=gateway.url, headers=headers, timeout=_TIMEOUT, transport=transport)
        result = pair.result
        self._state_path = result.with_name(f".{result.name}.job")
        self._partial = result.with_name(f".{result.name}.part")
        self._mode = mode_of(result)
        self._lock = self._locked()
        seen = pair.customers.stat()
        about = {
            "gateway": gateway.url,
            "file": str(pair.customers.resolve()),
            "bytes": seen.st_size,
            "changed_ns": seen.st_mtime_ns,
            "mapping": mapping,
            "into": pair.into,
        }
        self._kept = self._read_kept(about)

    def _locked(self) -> BinaryIO:
        """What is fetched, locked: two commands would write into it by turns.

        Raises:
            BlockingIOError: another command is at work on this result.
        """
        while True:
            file = self._partial.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise BlockingIOError(f"{self._pair.result}: another command is at work on this result") from None
            except OSError:  # a file system without locks
                return file
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), self._partial.stat()):
                    return file
            # The other one has just ended, and made it the result.
            file.close()

    def _read_kept(self, about: dict[str, Any]) -> _Kept:
        try:
            kept = _Kept.model_validate_json(self._state_path.read_bytes())
            if kept.about == about:
                return kept
        except (OSError, ValidationError):
            pass
        # Of another file, gateway or format: it is of no use any more.
        os.truncate(self._partial, 0)
        return _Kept(about=about, key=str(uuid.uuid4()))

    def _keep(self, **changes: str | None) -> None:
        self._kept = self._kept.model_copy(update=changes)
        with whole_file(self._state_path) as file:
            file.write(self._kept.model_dump_json().encode())

    def run(self, *, keep_job: bool) -> Outcome:
        """From where it is to the end.

        Raises:
            GatewayError, OSError
        """
        with self._lock:
            try:
                return self._run(keep_job=keep_job)
            except (_NotUnderstood, httpx.InvalidURL) as error:
                # A job that it made up must not be gone on with.
                self._forget()
                raise error if isinstance(error, _NotUnderstood) else _NotUnderstood() from error

    def _run(self, *, keep_job: bool) -> Outcome:
        with self._http:
            # A job may be gone, and one that was begun in its place; not each of them.
            for _ in range(_MOST_JOBS):
                if self._kept.job is None:
                    self._keep()
                    self._keep(job=_patiently(self._send))
                job = self._kept.job
                assert job is not None
                reply = self._waited_for(job)
                if reply is not None:
                    break
                # It was removed meanwhile, or has reached its age: from the beginning, under another key.
                self._keep(job=None, key=str(uuid.uuid4()), etag=None)
            else:
                raise _NotUnderstood
            if reply.state != "succeeded":
                self._forget()
                raise GatewayError(reply.failure or f"the job was {reply.state}")
            _patiently(lambda: self._fetch(job))
            outcome = _patiently(lambda: self._outcome(job))
            if self._pair.errors is not None:
                errors = self._pair.errors
                _patiently(lambda: self._fetch_errors(job, errors))
            if not keep_job:
                with suppress(httpx.TransportError):  # then its age removes it
                    self._http.delete(job)
        if self._mode is not None:
            self._partial.chmod(self._mode)
        self._partial.replace(self._pair.result)
        self._state_path.unlink(missing_ok=True)
        return outcome

    def _forget(self) -> None:
        self._state_path.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _send(self) -> str:
        """The address of the job."""
        path = self._pair.customers
        size = path.stat().st_size

        def blocks() -> Iterator[bytes]:
            sent = 0
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
                    sent += len(block)
                    self._told("sent", sent, size)

        reply = self._http.post(
            "/v1/jobs",
            params=[("map", f"{header}:{field}") for header, field in self._mapping.items()],
            content=blocks(),
            headers={
                "Content-Type": _MEDIA_TYPE_OF[self._pair.format],
                "Content-Length": str(size),
                "Idempotency-Key": f'"{self._kept.key}"',
            },
        )
        _must_be(reply, 202)
        address = reply.headers.get("location", "")
        # Nowhere else: the API key goes there.
        if not address.startswith(("/", f"{self._url}/")):
            raise _NotUnderstood
        return str(address)

    def _waited_for(self, job: str) -> _Job | None:
        """The job when it has ended; None where there is none any more."""
        while True:
            reply = _patiently(lambda: self._look(job))
            if reply is None or reply.state not in ("queued", "running"):
                return reply
            self._told("scored", reply.rows_done, None)
            time.sleep(_LOOK_S)

    def _look(self, job: str) -> _Job | None:
        reply = self._http.get(job)
        if reply.status_code in (404, 410):
            return None
        _must_be(reply, 200)
        return _understood(reply, _Job)

    def _fetch(self, job: str) -> None:
        """The result, from where it broke off."""
        have = self._partial.stat().st_size if self._partial.exists() and self._kept.etag else 0
        headers = {"Accept": _MEDIA_TYPE_OF[self._pair.into]}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": str(self._kept.etag)}
        with self._http.stream("GET", f"{job}/result", headers=headers) as reply:
            if reply.status_code == 416:  # all of it is there
                return
            _must_be(reply, 200, 206)
            self._keep(etag=reply.headers.get("etag"))
            is_rest = reply.status_code == 206
            length = int(reply.headers["content-length"]) if "content-length" in reply.headers else None
            done = have if is_rest else 0
            total = None if length is None else done + length
            with self._partial.open("ab" if is_rest else "wb") as file:
                if self._mode is not None:
                    # At once, yet so that another run can go on with it.
                    self._partial.chmod(self._mode | 0o600)
                for block in reply.iter_raw():
                    file.write(block)
                    done += len(block)
                    self._told("fetched", done, total)
                file.flush()
                os.fsync(file.fileno())

    def _fetch_errors(self, job: str, path: Path) -> None:
        with whole_file(path) as file:
            write_faults(file, (), with_header=True)
            offset, total = 0, 1
            while offset < total:
                reply = self._http.get(f"{job}/errors", params={"offset": offset, "limit": _ERRORS_PER_PAGE})
                _must_be(reply, 200)
                found = _understood(reply, _Errors)
                total, page = found.total, found.errors
                if total and not page:
                    raise GatewayError("the gateway tells of fewer errors than it says there are")
                write_faults(file, page)
                offset += len(page)

    def _outcome(self, job: str) -> Outcome:
        reply = self._http.get(f"{job}/summary")
        _must_be(reply, 200)
        found = _understood(reply, _SummaryTold)
        return Outcome(
            n_rows=found.customers + found.failed,
            n_failed=found.failed,
            summary=Summary(tiers=_groups(found.tiers), states=_groups(found.states)),
        )


def _understood(reply: httpx.Response, form: type[Reply]) -> Reply:
    try:
        return form.model_validate_json(reply.content)
    except ValidationError as error:
        raise _NotUnderstood from error


def _groups(found: dict[str, _GroupTold]) -> dict[str, Group]:
    return {
        name: Group(
            customers=each.customers,
            high_risk_customers=each.high_risk_customers,
            value_at_risk_cents=round(each.value_at_risk * 100),
        )
        for name, each in found.items()
    }


class _NotNow(Exception):
    """The gateway says that it cannot at the moment."""

    def __init__(self, reason: str, after_s: float) -> None:
        super().__init__(reason)
        self.after_s = after_s


def _must_be(reply: httpx.Response, *statuses: int) -> None:
    """Refuse any other answer.

    Raises:
        GatewayError, _NotNow
    """
    if reply.status_code in statuses:
        return
    reply.read()
    is_ours = True
    try:
        problem = reply.json()
        reasons = [str(problem["detail"])]
        reasons += [f"{each['pointer']} {each['message']}".strip() for each in problem.get("errors", ())]
    except (ValueError, KeyError, TypeError):
        problem, reasons, is_ours = {}, [f"it answered {reply.status_code}"], False
    reason = "; ".join(reasons)
    # The file that this command has begun to send, and broke off, is still on its way out over there.
    if reply.status_code in (429, 502, 503, 504) or problem.get("code") == "conflict":
        after = reply.headers.get("retry-after", "1")
        raise _NotNow(reason, float(after) if after.isdecimal() else 1.0)
    if not is_ours and reply.status_code < 500:
        raise _NotUnderstood(reason)
    raise GatewayError(reason)


def _patiently(step: Callable[[], Answer]) -> Answer:
    """Do it, again and again while nobody answers there.

    Raises:
        GatewayError: it will not, or not for long.
    """
    until = time.monotonic() + _PATIENCE_S
    pause_s = 0.25
    while True:
        try:
            return step()
        except (httpx.TransportError, _NotNow) as error:
            told = str(error) if isinstance(error, _NotNow) else "it does not answer"
            pause_s = error.after_s if isinstance(error, _NotNow) else min(2 * pause_s, 5.0)
            if time.monotonic() + pause_s > until:
                raise GatewayError(f"{told}; the same command goes on from here") from error
        time.sleep(pause_s)
