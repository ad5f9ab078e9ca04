"""`python -m bench.echo`: the endpoint that does nothing. FastAPI validates the body; the answer is a constant."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import JSONResponse

from bench.serving import bare_app, serve
from telelink_shared.customer import Customer

REPLY = {
    "churn_probability": 0.123456,
    "churn_risk": "Low",
    "estimated_clv": 14_821.37,
    "recommendation": "MAINTAIN: Continue standard engagement.",
    "confidence": "Moderate",
}


def create_app() -> FastAPI:
    """Two routes, one constant. Coroutines and ready-made responses: whatever else would make it slower."""
    app = bare_app()

    @app.post("/predict")
    async def predict(customer: Customer) -> JSONResponse:
        return JSONResponse(REPLY)

    @app.post("/batch-predict")
    async def predict_batch(customers: list[Customer]) -> JSONResponse:
        # It validates all and answers once: making 10,000 answers is not its work.
        return JSONResponse({"predictions": [REPLY], "count": len(customers)})

    return app


if __name__ == "__main__":
    serve(create_app())
