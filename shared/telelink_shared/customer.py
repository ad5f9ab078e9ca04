"""The customer's fields: names, limits, units, accepted spellings and their one canonical value.

Every other part takes its list of fields from here: the public API (camelCase on the wire), the model
services (one tensor per column, snake_case) and training (one frame column each).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, JsonValue, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

# fmt: off
STATES: Final = (
    "AK", "AL", "AR", "AZ", "CA", "CO", "CT", "DC", "DE", "FL", "GA", "HI", "IA",
    "ID", "IL", "IN", "KS", "KY", "LA", "MA", "MD", "ME", "MI", "MN", "MO", "MS",
    "MT", "NC", "ND", "NE", "NH", "NJ", "NM", "NV", "NY", "OH", "OK", "OR", "PA",
    "RI", "SC", "SD", "TN", "TX", "UT", "VA", "VT", "WA", "WI", "WV", "WY",
)
# fmt: on
"""Postal codes of the 50 states and DC, in alphabetical order."""

AREA_CODES: Final = ("408", "415", "510")
"""The area codes that occur in the public data set; the models know no other."""

PLAN_VALUES: Final = ("no", "yes")

USAGE_PERIODS: Final = ("day", "eve", "night", "intl")
"""The periods in which calls are counted, timed and charged."""

RATES_USD_PER_MINUTE: Final[Mapping[str, float]] = {"day": 0.17, "eve": 0.085, "night": 0.045, "intl": 0.27}
"""Fixed price of a minute. In the public data every charge is its minutes times this, rounded to cents."""

_PLAN_SPELLINGS: Final = {"yes": "yes", "no": "no", "true": "yes", "false": "no"}
_STATES: Final = frozenset(STATES)
_AREA_CODE_NUMBERS: Final = frozenset(int(code) for code in AREA_CODES)
_PLAN_REQUIREMENT: Final = "must be yes or no"
_STATE_REQUIREMENT: Final = "must be the two-letter code of a US state or DC"
_AREA_CODE_REQUIREMENT: Final = f"must be one of {', '.join(AREA_CODES)}"


class UnknownSpelling(ValueError):
    """A word that stands for none of a field's values. The message never repeats the word."""


def canonical_plan(value: object) -> str:
    """'yes' or 'no' for yes/no in any case, true/false as words or booleans, spaces and a final dot ignored."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        known = _PLAN_SPELLINGS.get(value.strip().rstrip(".").lower())
        if known is not None:
            return known
    raise UnknownSpelling(_PLAN_REQUIREMENT)


def canonical_state(value: object) -> str:
    """The two-letter postal code in capitals."""
    if isinstance(value, str):
        code = value.strip().upper()
        if code in _STATES:
            return code
    raise UnknownSpelling(_STATE_REQUIREMENT)


def canonical_area_code(value: object) -> str:
    """The three digits, given as a number, as digits, or in the public copies' spelling `area_code_415`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(int(value)) if value in _AREA_CODE_NUMBERS else ""
    if isinstance(value, str):
        code = value.strip().lower().removeprefix("area_code_")
        if code in AREA_CODES:
            return code
    raise UnknownSpelling(_AREA_CODE_REQUIREMENT)


@dataclass(frozen=True)
class Category:
    """A field that holds one of a fixed set of words; `requirement` says so to whoever gave another."""

    column: str
    values: tuple[str, ...]
    canonical: Callable[[object], str]
    requirement: str


CATEGORIES: Final[Mapping[str, Category]] = {
    category.column: category
    for category in (
        Category("state", STATES, canonical_state, _STATE_REQUIREMENT),
        Category("area_code", AREA_CODES, canonical_area_code, _AREA_CODE_REQUIREMENT),
        Category("international_plan", PLAN_VALUES, canonical_plan, _PLAN_REQUIREMENT),
        Category("voice_mail_plan", PLAN_VALUES, canonical_plan, _PLAN_REQUIREMENT),
    )
}

ELEVEN: Final = (
    "account_length",
    "state",
    "area_code",
    "international_plan",
    "voice_mail_plan",
    "number_of_vmail_messages",
    "total_day_calls",
    "total_eve_calls",
    "total_night_calls",
    "total_intl_calls",
    "customer_service_calls",
)
"""The columns that every customer has."""

MINUTES: Final = tuple(f"total_{period}_minutes" for period in USAGE_PERIODS)
CHARGES: Final = tuple(f"total_{period}_charge" for period in USAGE_PERIODS)
USAGE: Final = MINUTES + CHARGES
"""The optional columns. Minutes and charges derive each other; where both are given, the minutes count."""

COLUMNS: Final = ELEVEN + USAGE


@dataclass(frozen=True)
class _OneOf:
    """Validates a category: its canonical words in compiled code, every other spelling by `canonical`."""

    column: str
    code: str

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        category = CATEGORIES[self.column]
        return core_schema.union_schema(
            [
                core_schema.literal_schema(list(category.values)),
                core_schema.no_info_plain_validator_function(category.canonical),
            ],
            mode="left_to_right",
            custom_error_type=self.code,
            custom_error_message=category.requirement,
        )


def _identifier(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class Limits:
    """What a number may be: from 0 to so much, and whether it must be whole."""

    at_most: float
    whole: bool = False


_DAYS: Final = Limits(10_000, whole=True)
_COUNT: Final = Limits(10_000, whole=True)
# A month of 31 days has 44,640 minutes.
_MINUTES: Final = Limits(44_640)
_CHARGE: Final = Limits(12_100)

LIMITS: Final[Mapping[str, Limits]] = {
    "account_length": _DAYS,
    **{column: _COUNT for column in ELEVEN if column not in CATEGORIES and column != "account_length"},
    **dict.fromkeys(MINUTES, _MINUTES),
    **dict.fromkeys(CHARGES, _CHARGE),
}
"""By column; columns that are not here hold words."""


def _number(limits: Limits) -> Any:
    # strict: a number must come as a JSON number ("128" and true are refused); multiple_of keeps the test for
    # whole numbers in compiled code and lets 128.0 pass, which frames with gaps write.
    return Field(strict=True, ge=0, le=limits.at_most, allow_inf_nan=False, multiple_of=1 if limits.whole else None)


def _whole_schema(limits: Limits) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": 0, "maximum": limits.at_most})


Plan = Annotated[
    Literal["yes", "no"],
    _OneOf("international_plan", "unknown_plan"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": ["yes", "no", "Yes", "No", "true", "false"]}, {"type": "boolean"}],
            "description": "yes or no in any case, or true or false",
        }
    ),
]
State = Annotated[str, _OneOf("state", "unknown_state"), WithJsonSchema({"type": "string", "enum": list(STATES)})]
AreaCode = Annotated[
    str,
    _OneOf("area_code", "unknown_area_code"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(AREA_CODES)},
                {"type": "integer", "enum": [int(code) for code in AREA_CODES]},
            ]
        }
    ),
]
Days = Annotated[float, _number(_DAYS), _whole_schema(_DAYS)]
Count = Annotated[float, _number(_COUNT), _whole_schema(_COUNT)]
Minutes = Annotated[float, _number(_MINUTES)]
Charge = Annotated[float, _number(_CHARGE)]
CustomerId = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$"),
    # Outermost, so that the limits are those of a plain string, tested in compiled code.
    BeforeValidator(_identifier),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64}),
]


EXAMPLE: Final[dict[str, JsonValue]] = {
    "accountLength": 128,
    "state": "CA",
    "areaCode": "415",
    "internationalPlan": "no",
    "voiceMailPlan": "yes",
    "numberOfVmailMessages": 25,
    "totalDayCalls": 110,
    "totalEveCalls": 85,
    "totalNightCalls": 95,
    "totalIntlCalls": 3,
    "customerServiceCalls": 1,
}
"""A customer as the public API takes it."""


class Customer(BaseModel):
    """One subscriber as the public API takes it. Unknown fields are refused: a misspelt one would be lost silently."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": EXAMPLE},
    )

    account_length: Days = Field(description="Tenure in days")
    state: State = Field(description="US state or DC, two letters")
    area_code: AreaCode = Field(description="Area code")
    international_plan: Plan = Field(description="Has the international plan")
    voice_mail_plan: Plan = Field(description="Has the voice mail plan")
    number_of_vmail_messages: Count = Field(description="Voice mail messages")
    total_day_calls: Count = Field(description="Calls by day")
    total_eve_calls: Count = Field(description="Calls in the evening")
    total_night_calls: Count = Field(description="Calls by night")
    total_intl_calls: Count = Field(description="International calls")
    customer_service_calls: Count = Field(description="Calls to customer service")
    customer_id: CustomerId | None = Field(default=None, description="Your own id of this customer; kept in history")
    total_day_minutes: Minutes | None = Field(default=None, description="Minutes by day")
    total_eve_minutes: Minutes | None = Field(default=None, description="Minutes in the evening")
    total_night_minutes: Minutes | None = Field(default=None, description="Minutes by night")
    total_intl_minutes: Minutes | None = Field(default=None, description="International minutes")
    total_day_charge: Charge | None = Field(
        default=None, description="US dollars by day; used where minutes are absent"
    )
    total_eve_charge: Charge | None = Field(
        default=None, description="US dollars, evening; used where minutes are absent"
    )
    total_night_charge: Charge | None = Field(
        default=None, description="US dollars by night; used where minutes are absent"
    )
    total_intl_charge: Charge | None = Field(
        default=None, description="US dollars, international; used where minutes are absent"
    )


Row = tuple[Any, ...]
"""A customer's values in the order of `COLUMNS`; None where one is not known."""

row_of: Final[Callable[[Customer], Row]] = attrgetter(*COLUMNS)
"""The row of a customer."""
