"""What the gateway can be told, as `TELELINK_…` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, Field, TypeAdapter

from telelink_shared.web.settings import ServiceSettings

_HTTP_URL = TypeAdapter(AnyHttpUrl)


def _http_url(value: str) -> str:
    _HTTP_URL.validate_python(value)
    return value.rstrip("/")


def _sqlite_url(value: str) -> str:
    if not value.startswith("sqlite:///") or value == "sqlite:///":
        raise ValueError("must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(ServiceSettings):
    """All settings of the gateway."""

    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen at; 0 takes a free one and logs it")
    churn_url: HttpUrl = Field(default="http://127.0.0.1:8001", description="Address of the churn model service")
    clv_url: HttpUrl = Field(default="http://127.0.0.1:8002", description="Address of the lifetime-value model service")
    history_url: Annotated[str, AfterValidator(_sqlite_url)] = Field(
        default="sqlite:///var/history.db",
        description="Where predictions are kept; four slashes begin an absolute path",
    )
    deadline_s: float = Field(default=2.0, gt=0, le=60, description="Longest time for one prediction, in seconds")
    batch_deadline_s: float = Field(
        default=10.0, gt=0, le=14, description="Longest time for a batch, in seconds; nginx gives up after 15"
    )
    history_sync: Literal["normal", "full"] = Field(
        default="normal",
        description="What a stored prediction outlives: the end of the process (normal) or also a loss of power (full)",
    )
    high_value_from_usd: float | None = Field(
        default=None,
        ge=0,
        description="High value from these dollars on; unset: the third quartile of the training data",
    )
    top_value_from_usd: float | None = Field(
        default=None, ge=0, description="Top value from these dollars on; unset: the ninth decile of the training data"
    )
    api_keys_file: Path | None = Field(
        default=None, description="File of API keys; unset: demo mode, in which everybody may do everything"
    )
    site_dir: Path | None = Field(
        default=None, description="Folder of the page, where no nginx serves it; unset: the page is not served"
    )

    @property
    def history_path(self) -> Path:
        """The SQLite file."""
        return Path(self.history_url.removeprefix("sqlite:///"))
