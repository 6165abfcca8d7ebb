"""Short ways to submit and wait in tests, over the generic JobService."""

from collections.abc import Iterator, Mapping

import grpc
from dragoman.job.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED
FAILED = job_pb2.JOB_STATE_FAILED
CANCELLED = job_pb2.JOB_STATE_CANCELLED
RUNNING = job_pb2.JOB_STATE_RUNNING


class Jobs:
    """A client of one server's JobService."""

    def __init__(self, channel: grpc.Channel, kind: str) -> None:
        self.stub = job_service_pb2_grpc.JobServiceStub(channel)
        self._kind = kind

    def submit(self, spec: Mapping[str, object], *, kind: str = "", request_id: str = "") -> job_pb2.Job:
        """Submits a job and returns it."""
        request = job_service_pb2.SubmitJobRequest(kind=kind or self._kind, request_id=request_id)
        request.spec.update(dict(spec))
        return self.stub.SubmitJob(request, timeout=60).job

    def get(self, job_id: str) -> job_pb2.Job:
        """Returns a job."""
        return self.stub.GetJob(job_service_pb2.GetJobRequest(job_id=job_id), timeout=30).job

    def wait(self, job_id: str, seconds: int = 90) -> job_pb2.Job:
        """Returns a job when it is terminal. Fails the test when it is not in time."""
        request = job_service_pb2.WaitJobRequest(job_id=job_id)
        request.timeout.seconds = seconds
        job = self.stub.WaitJob(request, timeout=seconds + 30).job
        assert job.state in {SUCCEEDED, FAILED, CANCELLED}, f"{job_id} is still {job.state} after {seconds} s: {job}"
        return job

    def events(self, job_id: str, *, follow: bool = False) -> Iterator[job_pb2.JobEvent]:
        """Yields a job's events from its first."""
        request = job_service_pb2.WatchJobsRequest(job_ids=[job_id], follow=follow)
        for response in self.stub.WatchJobs(request, timeout=600):
            yield response.event

    def until_running(self, job_id: str) -> None:
        """Returns when a task of the job has reported progress."""
        for event in self.events(job_id):
            if event.type == job_pb2.EVENT_TYPE_PROGRESS:
                return
        raise AssertionError(f"{job_id} ended before it reported progress: {self.get(job_id)}")

    def until_done(self, job_id: str, tasks: int = 1) -> None:
        """Returns when so many tasks of the job are done: for jobs that are too quick for progress."""
        for event in self.events(job_id):
            tasks -= event.type == job_pb2.EVENT_TYPE_TASK_DONE
            if tasks <= 0:
                return
        raise AssertionError(f"{job_id} ended before so many tasks were done: {self.get(job_id)}")
