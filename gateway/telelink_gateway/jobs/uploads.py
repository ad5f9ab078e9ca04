"""A look at a file's beginning, so that what cannot be scored is refused while it is being sent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final

from telelink_shared.bulk.files import open_source
from telelink_shared.bulk.table import BadFile, Format
from telelink_shared.problem import FieldError, InvalidInput

_PARQUET: Final = b"PAR1"


def check_beginning(body: bytes, format: Format, mapping: Mapping[str, str]) -> None:
    """Refuse a file without the columns that are needed. Those of a Parquet file stand at its end, and are seen later.

    Raises:
        InvalidInput
    """
    try:
        if format == "parquet":
            if not body.startswith(_PARQUET):
                raise BadFile("not_parquet", "The file cannot be read as Parquet, or not to its end.")
        else:
            # Up to the last whole line: a file of NDJSON is looked into further than one line.
            end = body.rfind(b"\n") + 1
            open_source(io.BytesIO(body[:end] or body), format, mapping)
    except BadFile as error:
        fault = FieldError("", error.code, str(error))
        raise InvalidInput(f"The file cannot be scored. {error}", errors=[fault]) from error
