"""A model service behind a transport, and the gateway's clients of it."""

import httpx
import pytest

from support.upstream import Service
from telelink_gateway.predicting import CLV_OUTPUTS
from telelink_gateway.upstream.client import ModelClient
from telelink_gateway.upstream.http import Http
from telelink_gateway.upstream.metrics import UpstreamMetrics
from telelink_gateway.upstream.service import ModelService
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN


@pytest.fixture
def service():
    return Service()


@pytest.fixture
async def open_client(service):
    """Makes a client of the service at an address."""
    clients = []
    metrics = UpstreamMetrics(service.registry)

    def open_at(url="http://127.0.0.1:8002", **how):
        http = Http(httpx.MockTransport(service.handle))
        at = ModelService("clv-service", "clv", url, http, input_schema_hash(ELEVEN), **how)
        clients.append(ModelClient(at, metrics, CLV_OUTPUTS))
        return clients[-1]

    yield open_at
    for each in clients:
        await each.close()


@pytest.fixture
def client(open_client):
    return open_client()
