"""Typed settings from `TELELINK_…` environment variables; a misspelt name stops the start."""

from __future__ import annotations

import difflib
import os
from typing import Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from telelink_shared.web.startup import StartupError

PREFIX = "TELELINK_"


class ServiceSettings(BaseSettings):
    """What every service can be told. Subclasses set their own default port."""

    # An empty variable is one that is not set, as docker-compose.yml hands on what .env does not name.
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address to listen at")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen at; 0 takes a free one and logs it")
    drain_s: float = Field(
        default=0.0, ge=0, le=300, description="Seconds to go on serving, not ready any more, after SIGTERM"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged: debug, info, warning or error"
    )

    @classmethod
    def names(cls) -> frozenset[str]:
        """The environment variables that this service knows."""
        return frozenset(PREFIX + name.upper() for name in cls.model_fields)

    @classmethod
    def load(cls) -> Self:
        """Settings from the environment.

        Raises:
            StartupError: a `TELELINK_` name that no setting has, or a value that does not fit, in one line.
        """
        known = cls.names()
        for name in sorted(os.environ):
            if name.startswith(PREFIX) and name not in known:
                # Without the prefix, which would make any two names alike.
                ours = [each.removeprefix(PREFIX) for each in known]
                close = difflib.get_close_matches(name.removeprefix(PREFIX), ours, n=1)
                hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known are {', '.join(sorted(known))}"
                raise StartupError(f"unknown setting {name}: {hint}")
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = PREFIX + "_".join(str(part) for part in first["loc"]).upper() if first["loc"] else "settings"
            raise StartupError(f"{where}: {first['msg']}") from error
