"""The versions of one model on disk, and the one of them that answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from starlette.concurrency import run_in_threadpool

from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError
from telelink_shared.inference import RepositoryEntry
from telelink_shared.problem import Conflict, NotFound, VersionRefused
from telelink_shared.serving.definition import ModelDefinition
from telelink_shared.serving.model import LoadedModel, Runtime, load_model

log = structlog.get_logger()


class Repository:
    """Serves exactly one version at any moment; another one takes its place only once it has proved to be right.

    Args:
        definition: of the model.
        models_dir: folder with one folder for each model.
        runtime: what runs the estimators.

    Raises:
        ArtifactError: the version to be served must not be.

    Attributes:
        model: the served version. A request takes it once and keeps it, so that one version makes the whole reply.
    """

    def __init__(self, definition: ModelDefinition, models_dir: Path, runtime: Runtime) -> None:
        self._definition = definition
        self._models_dir = models_dir
        self._runtime = runtime
        self._refusals: dict[str, str] = {}
        self._loading = asyncio.Lock()
        self.model: LoadedModel = load_model(definition, models_dir, runtime=runtime)

    def index(self) -> list[RepositoryEntry]:
        """The served version and all that are on disk, oldest first."""
        name, served = self._definition.name, self.model.version
        known = {*artifact.versions(self._models_dir, name), served}
        return [
            RepositoryEntry(name=name, version=version, state="READY", reason="")
            if version == served
            else RepositoryEntry(
                name=name, version=version, state="UNAVAILABLE", reason=self._refusals.get(version, "not loaded")
            )
            for version in sorted(known, key=int)
        ]

    async def load(self, version: str | None) -> RepositoryEntry:
        """Read and verify a version in a worker thread, while the old one answers; then put it in its place.

        Args:
            version: None for the one that is to be served.

        Raises:
            NotFound: it is not on disk.
            VersionRefused: it must not be served; the old one goes on.
        """
        name = self._definition.name
        async with self._loading:
            chosen = version
            try:
                chosen = chosen or artifact.served_version(self._models_dir, name)
                if chosen not in artifact.versions(self._models_dir, name):
                    raise NotFound(f"There is no such version of the model '{name}' on disk.")
                model = await run_in_threadpool(
                    load_model, self._definition, self._models_dir, version=chosen, runtime=self._runtime
                )
            except ArtifactError as error:
                log.warning("model refused", model=name, version=chosen, reason=str(error))
                if chosen is not None:
                    self._refusals[chosen] = str(error)
                raise VersionRefused(f"{error}. Version {self.model.version} goes on answering.") from error
            self.model = model
            self._refusals.pop(chosen, None)
            log.info("model loaded", model=name, version=chosen)
        return RepositoryEntry(name=name, version=chosen, state="READY", reason="")

    def unload(self, version: str | None) -> None:
        """Nothing for a version that does not answer anyway.

        Raises:
            Conflict: it is the one that answers.
        """
        if version in (None, self.model.version):
            raise Conflict("A service always answers by one version. Load another one: it takes this one's place.")
