"""One model service at its address: an exchange with it, and what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from pydantic import ValidationError
from pydantic_core import from_json

from telelink_gateway.upstream.endpoints import Endpoints, Resolve, look_up
from telelink_gateway.upstream.failure import Failure
from telelink_gateway.upstream.http import Http, Reply
from telelink_gateway.upstream.metadata import checked_metadata
from telelink_gateway.upstream.status import Said, ServiceState
from telelink_shared.inference import ModelMetadata, ServerMetadata

_STATE_TIMEOUT_S: Final = 1.0
# A service has one version at a time, and a second while it is replaced.
_MAX_VERSIONS: Final = 8
# Our services' metadata has 7,000.
_METADATA_BYTES: Final = 1024 * 1024


@dataclass
class ModelService:
    """A model service.

    Attributes:
        name: the service's, as operators know it.
        model: the model's in the protocol.
        url: its address.
        http: how it is reached.
        schema_hash: of the input schema that this gateway sends.
        resolve: how the name in its address is looked up.
        metadata: of the versions that answered, by version.
        latest_metadata: what it last said of its model; None before it ever did.
    """

    name: str
    model: str
    url: str
    http: Http
    schema_hash: str
    resolve: Resolve = look_up
    metadata: dict[str, ModelMetadata] = field(default_factory=dict, init=False)
    latest_metadata: ModelMetadata | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._endpoints = Endpoints(self.url, self.resolve)
        self._model_path = f"/v2/models/{self.model}"
        self._infer_path = f"{self._model_path}/infer"

    async def close(self) -> None:
        """End what goes on by itself."""
        await self._endpoints.close()

    async def pick(self, *, not_this: str | None = None) -> str:
        """The address to ask at.

        Args:
            not_this: an address that is taken only where there is no other.

        Raises:
            Failure
        """
        return await self._endpoints.pick(asyncio.get_running_loop().time(), not_this=not_this)

    def avoid(self, base: str) -> None:
        """Ask at others first, for a while."""
        self._endpoints.avoid(base, asyncio.get_running_loop().time())

    async def infer(self, base: str, headers: Mapping[str, str], content: bytes, *, limit_bytes: int) -> Reply:
        """The reply to one call of the model, whatever its status.

        Raises:
            Failure: there is none, or it is longer than allowed.
        """
        return await self._exchange("POST", base + self._infer_path, headers, content, limit_bytes=limit_bytes)

    async def describe(self, base: str, headers: Mapping[str, str], version: str | None = None) -> ModelMetadata:
        """Metadata of the served version, or of the one that just answered.

        Raises:
            Failure: no answer, another model or other inputs, or a version that is gone.
        """
        path = self._model_path + (f"/versions/{quote(version, safe='')}" if version else "")
        reply = await self._exchange("GET", base + path, headers)
        if reply.status == HTTPStatus.NOT_FOUND and version:
            raise Failure("version", "the version that answered is not served any more")
        if reply.status != HTTPStatus.OK:
            raise Failure("status", f"status {reply.status} for the model's metadata")
        metadata = checked_metadata(reply.body, model=self.model, version=version, schema_hash=self.schema_hash)
        if len(self.metadata) >= _MAX_VERSIONS:
            self.metadata.clear()
        self.metadata[version or metadata.versions[-1]] = metadata
        self.latest_metadata = metadata
        return metadata

    async def extensions(self) -> Collection[str]:
        """What the server says that it can do beyond the protocol; nothing where it does not say.

        Raises:
            Failure
        """
        reply = await self._exchange("GET", f"{await self.pick()}/v2", {})
        if reply.status != HTTPStatus.OK:
            return ()
        try:
            return ServerMetadata.model_validate(from_json(reply.body)).extensions
        except (ValueError, ValidationError):
            return ()

    async def state(self) -> tuple[Said, Failure | None]:
        """How it says that it is, within a second; and what went wrong while it was asked."""
        state: ServiceState = "unreachable"
        try:
            async with asyncio.timeout(_STATE_TIMEOUT_S):
                base = await self.pick()
                reply = await self._exchange("GET", f"{base}{self._model_path}/ready", {})
                state = "not ready"
                metadata = await self.describe(base, {})
        except TimeoutError:
            return Said("unreachable"), Failure("timeout", "no state within a second")
        except Failure as failure:
            return Said(state), failure
        notes = tuple(map(str, metadata.parameters.get("notes", ())))
        return Said("ready" if reply.status == HTTPStatus.OK else state, metadata.versions[-1], notes), None

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        limit_bytes: int = _METADATA_BYTES,
    ) -> Reply:
        endpoints = self._endpoints
        return await self.http.call(
            method,
            url,
            {"host": endpoints.host, **headers},
            content,
            limit_bytes=limit_bytes,
            tls_name=endpoints.tls_name,
        )
