"""Makes data; a test names only what it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from telelink_shared import artifact
from telelink_shared.artifact import Encoding, Golden, Manifest, Variant
from telelink_shared.calibration import SCORES
from telelink_shared.customer import ELEVEN, EXAMPLE, MINUTES, USAGE
from telelink_shared.serving.definition import ModelDefinition, Output

ROOT = Path(__file__).resolve().parents[2]
PUBLIC_DATA = ROOT.parent / "shared" / "data" / "telecom-churn"
CHURN_MODELS = ROOT / "churn-service" / "models"
CLV_MODELS = ROOT / "clv-service" / "models"


def a_customer(**fields: Any) -> dict[str, Any]:
    """The documented request of POST /predict, with these fields instead; None leaves one out."""
    customer = EXAMPLE | fields
    return {name: value for name, value in customer.items() if value is not None}


def with_usage(**fields: Any) -> dict[str, Any]:
    """The same with minutes of use."""
    minutes = {"totalDayMinutes": 180.5, "totalEveMinutes": 200.1, "totalNightMinutes": 199.9, "totalIntlMinutes": 10.3}
    return a_customer(**minutes | fields)


def some_customers(n: int, *, seed: int) -> list[dict[str, Any]]:
    """Different customers, about half of them with usage."""
    rng = np.random.default_rng(seed)
    customers = []
    for number in range(n):
        make = with_usage if rng.random() < 0.5 else a_customer
        customer = make(
            customerId=f"c{number}",
            accountLength=int(rng.integers(1, 243)),
            state=str(rng.choice(["OH", "NJ", "WV", "DC"])),
            internationalPlan=str(rng.choice(["yes", "no"])),
            voiceMailPlan=str(rng.choice(["yes", "no"])),
            totalDayCalls=int(rng.integers(0, 165)),
            totalIntlCalls=int(rng.integers(0, 20)),
            customerServiceCalls=int(rng.integers(0, 9)),
        )
        if "totalDayMinutes" in customer:
            customer["totalDayMinutes"] = round(float(rng.uniform(0, 350)), 1)
        customers.append(customer)
    return customers


# The toy model: as many probabilities as there are customers, one for each service call. It proves that the toolkit
# knows neither churn nor lifetime value.
TOY = "toy"
TOY_DEFINITION = ModelDefinition(
    name=TOY,
    title="toy",
    required=ELEVEN,
    optional=USAGE,
    outputs=(Output("share", unit="probability", lower=0.0, upper=1.0),),
    finish=lambda scores, _rows, _numbers: {"share": scores},
    quality="misses",
)
# The customer that reasons are told against.
REFERENCE: dict[str, str | float] = {
    "account_length": 100.0,
    "state": "WV",
    "area_code": "415",
    "international_plan": "no",
    "voice_mail_plan": "no",
    "number_of_vmail_messages": 0.0,
    "total_day_calls": 101.0,
    "total_eve_calls": 100.0,
    "total_night_calls": 100.0,
    "total_intl_calls": 4.0,
    "customer_service_calls": 1.0,
    "total_day_minutes": 180.0,
    "total_eve_minutes": 201.0,
    "total_night_minutes": 201.2,
    "total_intl_minutes": 10.2,
}


def toy_graph(weight: float = 0.1) -> bytes:
    """score = weight * customer_service_calls, in float64."""
    weights = numpy_helper.from_array(np.array([[weight]], dtype=np.float64), "weights")
    default = numpy_helper.from_array(np.zeros((0, 1), dtype=np.float64), "only")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["only", "weights"], ["only_score"])],
        "toy",
        [helper.make_tensor_value_info("only", TensorProto.DOUBLE, ["rows", 1])],
        [helper.make_tensor_value_info("only_score", TensorProto.DOUBLE, ["rows", 1])],
        [weights, default],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def toy_manifest(model: bytes, *, version: str = "1", **changes: Any) -> Manifest:
    """The manifest of a toy version."""
    golden_inputs: dict[str, list[Any]] = {
        "account_length": [1.0, 2.0],
        "state": ["OH", "NJ"],
        "area_code": ["415", "408"],
        "international_plan": ["yes", "no"],
        "voice_mail_plan": ["no", "no"],
        **{name: [0.0, 0.0] for name in ELEVEN if name.startswith(("number", "total"))},
        "customer_service_calls": [1.0, 4.0],
    }
    values: dict[str, Any] = {
        "format": artifact.FORMAT,
        "model": TOY,
        "version": version,
        "created_at": "2026-01-01T00:00:00+00:00",
        "input_schema_hash": artifact.input_schema_hash(ELEVEN),
        "files": {artifact.ONNX: artifact.file_entry(model)},
        "variants": (
            Variant(
                name="only",
                needs=(),
                encoding=Encoding(numeric=("customer_service_calls",), mean=(0.0,), scale=(1.0,)),
            ),
        ),
        "libraries": {},
        "data": {"source": "made up"},
        "metrics": {},
        "quantiles": {},
        "notes": ("A toy.",),
        "reference": REFERENCE,
        "golden": Golden(inputs=golden_inputs, outputs={"share": [0.1, 0.4]}, tolerance={"share": 1e-9}),
    }
    return Manifest(**values | changes)


def write_toy(models_dir: Path, *, version: str = "1", **changes: Any) -> Path:
    """A toy version on disk."""
    model = toy_graph()
    return artifact.write_version(models_dir, toy_manifest(model, version=version, **changes), {artifact.ONNX: model})


def write_fraction_of_churn(models_dir: Path, *, version: str, fraction: float) -> Path:
    """The bundled churn model as another version that is whole and right, with every probability multiplied."""
    folder = CHURN_MODELS / "churn" / artifact.served_version(CHURN_MODELS, "churn")
    manifest = artifact.read_manifest(folder)
    files = {name: artifact.read_verified(folder, manifest, name) for name in manifest.files}
    changed = [
        variant.model_copy(
            update={
                "numbers": {
                    name: values if name == SCORES else tuple(fraction * value for value in values)
                    for name, values in variant.numbers.items()
                }
            }
        )
        for variant in manifest.variants
    ]
    outputs = {
        name: [None if value is None else fraction * value for value in values]
        for name, values in manifest.golden.outputs.items()
    }
    golden = manifest.golden.model_copy(update={"outputs": outputs})
    update = {"version": version, "variants": tuple(changed), "golden": golden}
    return artifact.write_version(models_dir, manifest.model_copy(update=update), files)


def raw_columns(customers: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Customers of the public API as raw columns of the inference protocol."""
    from pydantic import TypeAdapter

    from telelink_shared.customer import Customer

    parsed = TypeAdapter(list[Customer]).validate_python(customers)
    return {name: [getattr(each, name) for each in parsed] for name in (*ELEVEN, *MINUTES)}


def v2_request(customers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """An inference request for these customers."""
    from telelink_shared.customer import CATEGORIES

    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(values)],
                "datatype": "BYTES" if name in CATEGORIES else "FP64",
                "data": values,
            }
            for name, values in raw_columns(customers).items()
        ],
        **more,
    }
