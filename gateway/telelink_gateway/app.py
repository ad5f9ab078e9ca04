"""The only place where the gateway's parts are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from telelink_gateway.admission import Admission
from telelink_gateway.api_keys.guard import Access, Guard
from telelink_gateway.api_keys.keyring import Keyring
from telelink_gateway.api_keys.keys import KeysFileError
from telelink_gateway.api_keys.sessions import Sessions
from telelink_gateway.history.history import open_history
from telelink_gateway.history.sqlite import SqliteStore
from telelink_gateway.history.store import Store
from telelink_gateway.jobs.jobs import open_jobs
from telelink_gateway.predicting import CHURN_OUTPUTS, CLV_OUTPUTS, Models
from telelink_gateway.resources import Resources
from telelink_gateway.routes import (
    docs,
    erasures,
    health,
    jobs,
    models,
    policy,
    portfolio,
    predictions,
    session,
    stats,
    what_if,
)
from telelink_gateway.security_headers import security_headers
from telelink_gateway.settings import Settings
from telelink_gateway.upstream.answer import Expected
from telelink_gateway.upstream.client import ModelClient
from telelink_gateway.upstream.http import open_http
from telelink_gateway.upstream.metrics import UpstreamMetrics
from telelink_gateway.upstream.model import LastInputs, Model
from telelink_gateway.upstream.service import ModelService
from telelink_gateway.whole_files import WholeFiles
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, Customer
from telelink_shared.decision import Policy
from telelink_shared.web.app import FurnishedApp
from telelink_shared.web.openapi import describe_bodies
from telelink_shared.web.startup import StartupError

VERSION = "2.3.0"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})

log = structlog.get_logger()

_DESCRIPTION = """Who is about to leave, what each customer is worth, and what to do about it.

The lifetime value of the bundled model is trained on a simulated target: the public data has no revenue history.
"""


def _store(settings: Settings) -> Store:
    if settings.history_path is not None:
        return SqliteStore(settings.history_path, sync=settings.history_sync)
    # Imported by those who use it: it takes as long as all the rest, and memory.
    from telelink_gateway.history.postgres import PostgresStore

    return PostgresStore(settings.history_url, password=settings.history_password)


@asynccontextmanager
async def _open_resources(
    settings: Settings, registry: CollectorRegistry, access: Access | None
) -> AsyncIterator[Resources]:
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(
            open_history(_store(settings), registry, retention_days=settings.history_retention_days)
        )
        http = await stack.enter_async_context(open_http())
        upstream = UpstreamMetrics(registry)
        schema_hash = input_schema_hash(ELEVEN)
        encode = LastInputs()

        def model(name: str, url: str, outputs: tuple[Expected, ...]) -> Model:
            client = ModelClient(ModelService(f"{name}-service", name, url, http, schema_hash), upstream, outputs)
            stack.push_async_callback(client.close)
            return Model(client, encode)

        yield Resources(
            settings=settings,
            models=Models(
                churn=model("churn", settings.churn_url, CHURN_OUTPUTS),
                clv=model("clv", settings.clv_url, CLV_OUTPUTS),
                policy=Policy(
                    high_value_from_usd=settings.high_value_from_usd, top_value_from_usd=settings.top_value_from_usd
                ),
            ),
            history=history,
            jobs=await stack.enter_async_context(open_jobs(settings, registry)),
            access=access,
        )


def _access(settings: Settings) -> Access | None:
    """The keys in force, or none where no file is named, which is said aloud.

    Raises:
        StartupError: the file is not in order.
    """
    if settings.api_keys_file is not None:
        try:
            keyring = Keyring(settings.api_keys_file)
        except KeysFileError as error:
            raise StartupError(f"TELELINK_API_KEYS_FILE: {error}") from error
        log.info("API keys in use", keys=len(keyring))
        return Access(keyring, Sessions())
    host = settings.published_at or settings.host
    say = log.info if host in _LOOPBACK else log.warning
    say("demo mode: no API keys, whoever reaches this address may do everything", host=host)
    return None


def create_app(settings: Settings | None = None) -> FastAPI:
    """The gateway; settings from the environment unless given."""
    settings = settings or Settings.load()
    access = _access(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with _open_resources(settings, app.state.metrics.registry, access) as resources:
            yield {"resources": resources}

    app = FurnishedApp(
        title="TeleLink Customer Analytics",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        direct={"/predict": predictions.predict_one, "/batch-predict": predictions.predict_batch},
        extra_headers=security_headers,
        guard=None if access is None else lambda inner: Guard(inner, access),
        outermost=lambda inner, metrics: Admission(inner, metrics.registry),
    )
    for routes in (predictions, what_if, jobs, stats, portfolio, erasures, session, health, models, policy, docs):
        app.include_router(routes.router)
    describe_bodies(app, Customer, what_if.WhatIfRequest, erasures.ErasureRequest, session.SignIn)
    docs.mount_assets(app)
    if settings.site_dir is not None:
        # Asked last: a mount at "/" would also answer for known addresses with another method.
        app.router.default = WholeFiles(directory=settings.site_dir, html=True)
    return app
