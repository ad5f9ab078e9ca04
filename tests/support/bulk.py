"""Files of customers in memory, scored by figures that are made up of each customer."""

import csv
import io

from telelink_shared.bulk.checking import Checker
from telelink_shared.bulk.deciding import decide_all
from telelink_shared.bulk.files import open_source, write_result
from telelink_shared.bulk.table import Scored
from telelink_shared.decision import Policy

POLICY = Policy(high_value_from_usd=5_000, top_value_from_usd=9_000)


def csv_of(rows, delimiter=",", end="\n", mark=""):
    """A file of these rows, as bytes."""
    headers = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(headers)
    writer.writerows([row.get(name, "") for name in headers] for row in rows)
    return (mark + out.getvalue()).encode()


def scored_of(data, format="csv", mapping=None, n_rows=3):
    """Its source with each chunk, of so many rows, scored."""
    source = open_source(io.BytesIO(data), format, mapping)
    checker = Checker(source.layout, is_text=source.is_text)
    for chunk in source.chunks(n_rows):
        checked = checker.check(chunk)
        yield source, Scored(chunk, checked, decide_all(answers_to(checked), POLICY))


def answers_to(checked):
    """Figures that depend on the customer, as a model's would."""
    risks = [days / 10_000 for days in checked.numbers["account_length"]]
    values = [100 * calls / 3 for calls in checked.numbers["total_day_calls"]]
    return {
        "churn_probability": risks,
        "churn_lower": [risk / 2 for risk in risks],
        "churn_upper": [min(1.0, risk * 2) for risk in risks],
        "estimated_clv": values,
        "clv_lower": [value / 2 for value in values],
        "clv_upper": [value * 2 for value in values],
    }


def result_of(data, format="csv", into=None, **more):
    """The result as a file, as bytes."""
    scored = list(scored_of(data, format, **more))
    out = io.BytesIO()
    write_result(scored[0][0], (each for _, each in scored), into or format, out)
    return out.getvalue()


def faults_of(data, format="csv", **more):
    """All that is wrong with its rows, in their order."""
    return [
        fault for _, each in scored_of(data, format, **more) for row in each.checked.faults.values() for fault in row
    ]
