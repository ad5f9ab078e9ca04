"""/v1/jobs: whole files of customers, scored in the background."""

from __future__ import annotations

from fastapi import APIRouter

from telelink_gateway.routes.jobs import events, results, state, upload

router = APIRouter()
for part in (upload, state, events, results):
    router.include_router(part.router)
