"""A gateway in process, with stand-ins for the model services on real sockets; and its history over either database."""

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from support.history import PostgresDatabase, SqliteFile
from support.postgres import needs_postgres, running_postgres
from support.stub_model import stub_model
from telelink_gateway.app import create_app
from telelink_gateway.history.history import open_history
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


@pytest.fixture(scope="module")
def server():
    with running_postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request, tmp_path):
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "history.db")
    return PostgresDatabase(request.getfixturevalue("server"))


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
async def history(database, registry):
    async with open_history(database.store(), registry, retention_days=36_500) as running:
        yield running
