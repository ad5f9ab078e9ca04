"""Spellings of column names in files: one place for training, bulk scoring and whoever else reads a table."""

from __future__ import annotations

import re
from typing import Final

from telelink_shared.customer import USAGE_PERIODS

CHURN: Final = "churn"
LIFETIME_VALUE: Final = "lifetime_value_usd"

# Headers of the public copies that do not become ours by lower case and underscores alone.
_OTHER_NAMES: Final = {
    "number_vmail_messages": "number_of_vmail_messages",
    "number_customer_service_calls": "customer_service_calls",
    "class": CHURN,
    "target": CHURN,
    "int_l_plan": "international_plan",
    "vmail_plan": "voice_mail_plan",
    "vmail_message": "number_of_vmail_messages",
    "cust_serv_calls": "customer_service_calls",
    **{
        f"{period}_{short}": f"total_{period}_{word}"
        for period in USAGE_PERIODS
        for short, word in (("mins", "minutes"), ("calls", "calls"), ("charge", "charge"))
    },
    "lifetime_value": LIFETIME_VALUE,
    "clv": LIFETIME_VALUE,
}


def canonical_name(header: str) -> str:
    """Our name for a header in any known spelling: `accountLength`, `Account Length` and `account_length` are one."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", header.strip())
    name = re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")
    return _OTHER_NAMES.get(name, name)


def spellings(column: str) -> tuple[str, ...]:
    """Further names by which a column is known; capitals, spaces and dots make no difference."""
    return tuple(name for name, meant in _OTHER_NAMES.items() if meant == column and name != column)
