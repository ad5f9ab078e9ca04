"""The reply for a problem, whatever led to it."""

import json

from starlette.requests import Request

from telelink_shared.problem import FieldError, InvalidInput, Unauthenticated
from telelink_shared.web.problem_handlers import MAX_BYTES, render


def a_request(**scope):
    return Request({"type": "http", "method": "POST", "path": "/canary", "headers": [], **scope})


def test_a_reply_keeps_within_its_size_by_listing_fewer_errors():
    errors = [FieldError(f"/{'longName' * 20}", "code", "is not valid " * 10)] * 20
    content = render(a_request(), InvalidInput("See 'errors'.", errors=errors)).body
    problem = json.loads(content)
    assert len(content) <= MAX_BYTES
    assert 5 < len(problem["errors"]) < 20
    assert problem["n_errors"] == 20


def test_the_address_is_told_only_as_far_as_it_is_ours():
    class Route:
        path = "/v2/models/{name}"

    def instance(**scope):
        return json.loads(render(a_request(**scope), InvalidInput("No.")).body)["instance"]

    assert instance() == "/"
    assert instance(direct_route="/predict") == "/predict"
    assert instance(route=Route()) == "/v2/models/"


def test_who_is_not_known_is_told_how_to_be():
    assert render(a_request(), Unauthenticated("No key.")).headers["www-authenticate"].startswith("Bearer")
