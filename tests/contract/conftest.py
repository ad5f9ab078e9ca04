"""A gateway in process, with stand-ins for the model services on real sockets."""

import pytest
from fastapi.testclient import TestClient

from support.stub_model import stub_model
from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings


@pytest.fixture
def churn():
    with stub_model("churn") as stub:
        yield stub


@pytest.fixture
def clv():
    with stub_model("clv") as stub:
        yield stub


@pytest.fixture
def settings(churn, clv, tmp_path):
    return Settings(churn_url=churn.url, clv_url=clv.url, history_url=f"sqlite:///{tmp_path}/history.db")


@pytest.fixture
def client(settings):
    with TestClient(create_app(settings)) as running:
        yield running
