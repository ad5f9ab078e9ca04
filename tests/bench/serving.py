"""Serves the two endpoints that ours is measured against, with the same server and settings as ours."""

from __future__ import annotations

import json
import os
import socket

import uvicorn
from fastapi import FastAPI

# As ours.
BACKLOG = 2048


def bare_app() -> FastAPI:
    """An application with a route for readiness and nothing that costs time: no documents, no traces."""
    app = FastAPI(docs_url=None, redoc_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {}

    return app


def bound() -> socket.socket:
    """A socket that listens where BENCH_HOST and BENCH_PORT say, else on a free port, which is told as ours do."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((os.environ.get("BENCH_HOST", "127.0.0.1"), int(os.environ.get("BENCH_PORT", "0"))))
    listener.listen(BACKLOG)
    print(json.dumps({"event": "starting", "port": listener.getsockname()[1]}), flush=True)
    return listener


def serve_on(listener: socket.socket, app: FastAPI) -> bool:
    """Run one worker until it is told to stop; False when it did not even start."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        # Longer than nginx keeps an idle connection.
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return server.started


def serve(app: FastAPI) -> None:
    """Run the only worker."""
    with bound() as listener:
        serve_on(listener, app)
