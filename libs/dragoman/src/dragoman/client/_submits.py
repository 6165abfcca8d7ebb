"""Submitting: one job, the coders of a sweep, a pipeline."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from dragoman.client._caller import Caller
from dragoman.errors import DragomanError, InvalidSpec, Violation
from dragoman.jobs import JobRecord
from dragoman.pipeline import Pipeline, PipelineJob
from dragoman.rpc.convert import job_record, spec_message
from dragoman.rpc.methods import SWEEP, submit_of

_SWEEP_TIMEOUT = 600.0
"""Seconds: up to a thousand specs are checked, then submitted."""


class Submits(Caller):
    """The verbs that submit."""

    async def submit(self, kind: str, spec: Mapping[str, Any] | Message, request_id: str = "") -> JobRecord:
        """Submits a job and returns it; when it is known already, or done, returns that one.

        Args:
            kind: Kind of job, for example "latents".
            spec: Its spec, as plain Python or as the typed message.
            request_id: A second submission with this id must be of the same spec.

        Raises:
            InvalidSpec: A field is wrong; all of them are listed.
            AlreadyExists: The request id came with another spec before.
        """
        how = submit_of(kind)
        message = spec if isinstance(spec, Message) else spec_message(spec, how.spec)
        if not isinstance(message, how.spec):
            wanted, got = how.spec.DESCRIPTOR.name, message.DESCRIPTOR.name
            raise InvalidSpec(f"a job of kind {kind!r} takes a {wanted}, not a {got}", field="spec")
        address = self.addresses.one(how.service)
        await self._check_version(address)
        request = how.method.request(spec=message, request_id=request_id)
        return job_record((await self._wire.call(how.method, request, address)).job)

    async def submit_sweep(self, spec: Mapping[str, Any] | Message, request_id: str = "") -> dict[str, JobRecord]:
        """Submits a coder for each combination of a sweep. Returns label to job, for example "architecture=topk k=32".

        Args:
            spec: A SweepSpec, as plain Python or as the typed message.
            request_id: Each coder is submitted with it, "." and its number.

        Raises:
            InvalidSpec: A combination cannot be trained; then none is submitted.
        """
        message = spec if isinstance(spec, Message) else spec_message(spec, SWEEP.spec)
        address = self.addresses.one(SWEEP.service)
        await self._check_version(address)
        request = SWEEP.method.request(spec=message, request_id=request_id)
        answer = await self._wire.call(SWEEP.method, request, address, _SWEEP_TIMEOUT)
        return {coder.label: job_record(coder.job) for coder in answer.coders}

    async def submit_pipeline(
        self, pipeline: Pipeline, report: Callable[[str], object] | None = None
    ) -> dict[str, JobRecord]:
        """Submits every job of a pipeline, each after those it needs. Returns name to job.

        Of a sweep each coder is a job of its own, named "<name>[<label>]".

        Args:
            pipeline: What `dragoman.pipeline.load` or `parse` returned.
            report: Called with each job's name before it is submitted.

        Raises:
            InvalidSpec: As `submit`, with the job's name before the field. Jobs before it stay submitted; submitting
                the mended pipeline again finds them.
        """
        jobs: dict[str, JobRecord] = {}
        ids: dict[str, str | Sequence[str]] = {}
        for name, step in pipeline.jobs.items():
            if report is not None:
                report(name)
            try:
                made = await self._submitted(step, ids)
            except InvalidSpec as error:
                raise _in_pipeline(error, name, pipeline) from error
            except DragomanError as error:
                raise type(error)(f"job {name!r}: {error.message}", reason=error.reason) from error
            ids[name] = made[name].id if name in made else [job.id for job in made.values()]
            jobs |= made
        return jobs

    async def _submitted(self, step: PipelineJob, ids: Mapping[str, str | Sequence[str]]) -> dict[str, JobRecord]:
        if step.kind == SWEEP.kind:
            swept = await self.submit_sweep(step.render(ids), step.request_id)
            return {f"{step.name}[{label}]": job for label, job in swept.items()}
        return {step.name: await self.submit(step.kind, step.render(ids), step.request_id)}


def _in_pipeline(error: InvalidSpec, name: str, pipeline: Pipeline) -> InvalidSpec:
    """Names the job and the line of a wrong field."""
    found: list[Violation] = []
    for violation in error.violations:
        path = f"jobs.{name}.spec" + (f".{violation.field}" if violation.field else "")
        found.append(Violation(path, pipeline.lines.at(path, violation.description)))
    return InvalidSpec(found, reason=error.reason)
