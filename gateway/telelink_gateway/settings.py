"""What the gateway can be told, as `TELELINK_…` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, TypeAdapter

from telelink_shared.web.settings import ServiceSettings

_HTTP_URL = TypeAdapter(AnyHttpUrl)


def _http_url(value: str) -> str:
    _HTTP_URL.validate_python(value)
    return value.rstrip("/")


_SQLITE = "sqlite:///"


def _history_url(value: str) -> str:
    if value.startswith(("postgresql://", "postgres://")):
        from psycopg import Error
        from psycopg.conninfo import conninfo_to_dict

        try:
            conninfo_to_dict(value)
        except Error:
            # Its own words may repeat a password.
            raise ValueError("is not what PostgreSQL's client library takes as a URL") from None
    elif not value.startswith(_SQLITE) or value == _SQLITE:
        raise ValueError("must be sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql://…")
    return value


def _readable(value: Path) -> Path:
    try:
        value.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError("is not a text file that can be read") from None
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(ServiceSettings):
    """All settings of the gateway."""

    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen at; 0 takes a free one and logs it")
    churn_url: HttpUrl = Field(default="http://127.0.0.1:8001", description="Address of the churn model service")
    clv_url: HttpUrl = Field(default="http://127.0.0.1:8002", description="Address of the lifetime-value model service")
    history_url: Annotated[str, AfterValidator(_history_url)] = Field(
        default="sqlite:///var/history.db",
        repr=False,
        description="Where predictions are kept: a SQLite file (four slashes begin an absolute path) or `postgresql://…`",
    )
    history_password_file: Annotated[Path, AfterValidator(_readable)] | None = Field(
        default=None, description="File with the password for PostgreSQL; unset: the one in the URL, if any"
    )
    history_retention_days: float = Field(
        default=90.0, ge=1, le=36_500, description="Days after which a prediction is removed from the history"
    )
    idempotency_hours: float = Field(
        default=24.0,
        gt=0,
        le=24,
        description="Hours for which a reply is kept for whoever repeats its `Idempotency-Key`",
    )
    deadline_s: float = Field(default=2.0, gt=0, le=60, description="Longest time for one prediction, in seconds")
    batch_deadline_s: float = Field(
        default=10.0, gt=0, le=14, description="Longest time for a batch, in seconds; nginx gives up after 15"
    )
    history_sync: Literal["normal", "full"] = Field(
        default="normal",
        description="What a row in SQLite outlives: the end of the process (normal) or also a loss of power (full)",
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
    published_at: str | None = Field(
        default=None,
        description="Address of the machine at which others reach the gateway, where a container's port is published; "
        "unset: the one to listen at",
    )
    jobs_max_mb: int = Field(default=512, ge=1, le=1_000_000, description="Largest file of a job, in MB")
    jobs_max_rows: int = Field(default=5_000_000, ge=1, le=100_000_000, description="Most customers of a job")
    jobs_kept: int = Field(default=20, ge=1, le=10_000, description="Most jobs that are kept at once")
    jobs_kept_hours: float = Field(
        default=72.0, gt=0, le=8_760, description="Hours after which a job is removed, with its file and result"
    )
    site_dir: Path | None = Field(
        default=None, description="Folder of the page, where no nginx serves it; unset: the page is not served"
    )

    @property
    def history_path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        if not self.history_url.startswith(_SQLITE):
            return None
        return Path(self.history_url.removeprefix(_SQLITE))

    @property
    def history_password(self) -> SecretStr | None:
        """From its file, without the end of the line."""
        if self.history_password_file is None:
            return None
        return SecretStr(self.history_password_file.read_text(encoding="utf-8").rstrip("\r\n"))
