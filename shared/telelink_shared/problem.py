"""Every error that the product can tell a client, as RFC 9457 problem details. No web framework in here.

Problem
├── BadRequest 400            bad_request
│   ├── MalformedJson 400     malformed_json
│   │   └── NotUtf8 400       not_utf8
│   └── MalformedIdempotencyKey 400 malformed_idempotency_key
├── Unauthenticated 401       unauthenticated
├── Forbidden 403            forbidden
├── NotFound 404              not_found
├── MethodNotAllowed 405      method_not_allowed
├── Conflict 409              conflict
│   ├── VersionRefused 409    version_refused        (a model version that must not be served)
│   ├── JobNotFinished 409    job_not_finished
│   └── TooManyJobs 409       too_many_jobs
├── RequestTimeout 408        request_timeout
├── JobExpired 410            job_expired
├── NotAcceptable 406         not_acceptable
├── TooLarge 413              body_too_large
├── UnsupportedMediaType 415  unsupported_media_type
├── RangeNotSatisfiable 416   range_not_satisfiable
├── InvalidInput 422          invalid_input
│   └── IdempotencyKeyReused 422 idempotency_key_reused
├── TooManyRequests 429       too_many_requests      (told by the frontend)
├── HeadTooLarge 431          head_too_large
├── InternalError 500         internal_error
└── Unavailable 503           unavailable
    ├── ModelUnavailable 503  model_unavailable
    ├── HistoryUnavailable 503 history_unavailable
    ├── JobsUnavailable 503   jobs_unavailable
    ├── Overloaded 503        overloaded
    ├── GatewayUnavailable 503 gateway_unavailable   (told by the frontend)
    ├── DeadlinePassed 504    deadline_passed        (told by a model service)
    └── Draining 503          draining
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 20
"""A reply lists at most this many errors, however many there are."""


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with the input.

    Attributes:
        pointer: JSON pointer (RFC 6901) to it in the body; empty for the body itself.
        code: stable, for programs.
        message: for people; never repeats the value.
    """

    pointer: str
    code: str
    message: str


class Problem(Exception):
    """Base of all: raise a subclass where the fault is known; one handler renders it.

    Args:
        detail: what happened and what to do about it, for people.
        errors: for faulty input, what is wrong where.
        n_errors: how many there are, where `errors` holds only the first of them.
        retry_after_s: when trying again makes sense.

    Attributes:
        headers: of the reply, where the kind of problem asks for some.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        n_errors: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.n_errors = len(self.errors) if n_errors is None else n_errors
        self.retry_after_s = retry_after_s
        self.headers: Mapping[str, str] = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}

    def document(self, *, instance: str, request_id: str) -> dict[str, Any]:
        """The problem document of this error for one request."""
        document: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        if self.errors:
            document["errors"] = [
                {"pointer": error.pointer, "code": error.code, "message": error.message}
                for error in self.errors[:MAX_ERRORS]
            ]
            document["n_errors"] = self.n_errors
        return document


class BadRequest(Problem):
    """The request is not well formed."""

    code, status, title = "bad_request", 400, "The request was refused"


class MalformedJson(BadRequest):
    """The body is not JSON."""

    code, title = "malformed_json", "The body is not valid JSON"


class NotUtf8(MalformedJson):
    """The body is not UTF-8 text."""

    code, title = "not_utf8", "The body is not UTF-8"


class MalformedIdempotencyKey(BadRequest):
    """The header `Idempotency-Key` does not hold one key of an accepted form."""

    code, title = "malformed_idempotency_key", "The Idempotency-Key is not well formed"


class Unauthenticated(Problem):
    """There is no API key with the request, or one that is not known."""

    code, status, title = "unauthenticated", 401, "An API key is needed"


class Forbidden(Problem):
    """The API key, or the session, is not allowed to do this."""

    code, status, title = "forbidden", 403, "Not allowed"


class NotFound(Problem):
    """There is nothing at this address."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(Problem):
    """The address exists, but not for this method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class RequestTimeout(Problem):
    """A request began and did not go on, or so slowly that it held up others."""

    code, status, title = "request_timeout", 408, "The request did not come in time"


class Conflict(Problem):
    """The request is in order, but does not fit the state that this service is in."""

    code, status, title = "conflict", 409, "Not possible in this state"


class VersionRefused(Conflict):
    """A model version did not prove to be whole and right; the one that was served before goes on."""

    code, title = "version_refused", "The model version was refused"


class JobNotFinished(Conflict):
    """The job has no result: it is still under way, was cancelled, or has failed."""

    code, title = "job_not_finished", "The job has no result"


class TooManyJobs(Conflict):
    """As many jobs are kept as there may be."""

    code, title = "too_many_jobs", "Too many jobs"


class JobExpired(Problem):
    """The job was removed when it had reached its age."""

    code, status, title = "job_expired", 410, "The job has been removed"


class NotAcceptable(Problem):
    """What is asked for is not to be had in any of the media types that are accepted."""

    code, status, title = "not_acceptable", 406, "Not available in this form"


class RangeNotSatisfiable(Problem):
    """The range lies beyond the end.

    Args:
        n_bytes: how many there are.
    """

    code, status, title = "range_not_satisfiable", 416, "No such range"

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"There are {n_bytes:,} bytes.")
        self.headers = {"Content-Range": f"bytes */{n_bytes}"}


class TooLarge(Problem):
    """The body has more bytes, or rows, than one request may."""

    code, status, title = "body_too_large", 413, "The body is too large"


class UnsupportedMediaType(Problem):
    """The body is announced as something other than JSON."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class InvalidInput(Problem):
    """JSON, but not what this address takes."""

    code, status, title = "invalid_input", 422, "The input is not valid"


class IdempotencyKeyReused(InvalidInput):
    """The `Idempotency-Key` was used for another request before."""

    code, title = "idempotency_key_reused", "The Idempotency-Key belongs to another request"


class TooManyRequests(Problem):
    """One client, or all together, have more requests under way than the frontend takes."""

    code, status, title = "too_many_requests", 429, "Too many requests at once"


class HeadTooLarge(Problem):
    """What stands around the body, above all its request line and headers, has more bytes than a request may."""

    code, status, title = "head_too_large", 431, "The head of the request is too large"


class InternalError(Problem):
    """A bug of ours. Says nothing about it to the client; the log does."""


class Unavailable(Problem):
    """Nothing is wrong with the request; it cannot be answered now."""

    code, status, title = "unavailable", 503, "Temporarily unavailable"


class ModelUnavailable(Unavailable):
    """A model service cannot answer."""

    code, title = "model_unavailable", "A model service cannot answer"


class HistoryUnavailable(Unavailable):
    """The history cannot be read or changed."""

    code, title = "history_unavailable", "The history is out of reach"


class JobsUnavailable(Unavailable):
    """Jobs cannot be read or changed."""

    code, title = "jobs_unavailable", "Jobs are out of reach"


class Overloaded(Unavailable):
    """More comes in than can be answered."""

    code, title = "overloaded", "Too much to do right now"


class GatewayUnavailable(Unavailable):
    """The frontend cannot reach the gateway: it is starting, being replaced, or down."""

    code, title = "gateway_unavailable", "The gateway cannot be reached"


class DeadlinePassed(Unavailable):
    """Whoever asks will not wait any longer for the answer: the work was not begun."""

    code, status, title = "deadline_passed", 504, "The deadline has passed"


class Draining(Unavailable):
    """This process is about to stop."""

    code, title = "draining", "This service is stopping"


def _all(family: type[Problem]) -> list[type[Problem]]:
    return [family, *(member for child in family.__subclasses__() for member in _all(child))]


def catalogue() -> dict[str, type[Problem]]:
    """Every problem by its code: what `/problems/<code>` describes."""
    return {family.code: family for family in _all(Problem)}


def problem_for_status(status: int) -> Problem:
    """The problem for a status that a web framework raised by itself."""
    for family in (NotFound, MethodNotAllowed, TooLarge, UnsupportedMediaType):
        if family.status == status:
            return family(_FRAMEWORK_DETAIL[status])
    if 400 <= status < 500:
        return BadRequest(f"The request was refused: {HTTPStatus(status).phrase}.")
    return InternalError("Something went wrong on our side. Please quote the request id.")


_FRAMEWORK_DETAIL: Final = {
    404: "There is nothing at this address. /docs lists what there is.",
    405: "This address does not take this method. /docs lists what it takes.",
    413: "The body is larger than this address takes.",
    415: "Send the body as application/json.",
}
