"""What is known of a job's inputs: their manifests, or the jobs that will make them."""

import asyncio
from collections.abc import Mapping, Sequence

from dragoman.artifacts import InputInfo
from dragoman.jobs import JobRecord, JobState
from dragoman.ledger import Ledger
from dragoman.store import Store


class Inputs:
    """Looks inputs up in the store first, then among the jobs."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def infos(self, inputs: Mapping[str, str]) -> tuple[dict[str, InputInfo], list[str]]:
        """Returns what is known of each input, and the roles of those of which nothing is known."""
        infos: dict[str, InputInfo] = {}
        unknown: list[str] = []
        for role, id_ in inputs.items():
            info = await self._info(id_)
            if info is None:
                unknown.append(role)
            else:
                infos[role] = info
        return infos, unknown

    async def _info(self, id_: str) -> InputInfo | None:
        manifest = await asyncio.to_thread(self._store.manifest, id_)
        if manifest is not None:
            return InputInfo(id_, manifest.kind, manifest.spec, manifest, manifest.inputs, manifest.namespace)
        record = await self._ledger.find(id_)
        if record is None:
            return None
        return InputInfo(id_, record.kind, record.spec, None, record.inputs, record.namespace)

    async def broken(self, missing: Sequence[str]) -> JobRecord | None:
        """Returns a failed or cancelled job among those that make the missing artifacts."""
        for id_ in missing:
            job = await self._ledger.find(id_)
            if job is not None and job.state in {JobState.FAILED, JobState.CANCELLED}:
                return job
        return None
