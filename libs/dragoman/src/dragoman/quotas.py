"""Whether a principal has as much as it may have. Decides only, from the records of jobs."""

from collections.abc import Iterable, Sequence

from dragoman.errors import ResourceExhausted
from dragoman.jobs import JobRecord, JobState
from dragoman.principals import Limits, Principal

_SOON_S = 30
_LATER_S = 3600
"""Room for bytes is made by people."""
TOKEN_WINDOW_S = 86_400.0
_QUEUED = {JobState.WAITING, JobState.QUEUED}
_RUNNING = {JobState.RUNNING, JobState.CANCELLING}


def needs_ended(limits: Limits) -> bool:
    """True when jobs that have ended count too."""
    return limits.max_bytes is not None or limits.max_llm_tokens is not None


def check(caller: Principal, jobs: Iterable[JobRecord], now: float) -> None:
    """Raises ResourceExhausted, with when to try again, where one more job would be one too many.

    Args:
        caller: Who submits.
        jobs: All jobs that are not done; where `needs_ended`, all jobs. Those of others do not count.
        now: Seconds since the epoch.
    """
    own = [job for job in jobs if job.principal == caller.name and job.namespace == caller.namespace]
    limits = caller.limits
    counts = (
        (limits.max_open_jobs, sum(not job.state.terminal for job in own), "jobs that are not done"),
        (limits.max_queued_jobs, sum(job.state in _QUEUED for job in own), "jobs that wait or are queued"),
        (limits.max_running_jobs, sum(job.state in _RUNNING for job in own), "jobs that run"),
    )
    for limit, count, what in counts:
        if limit is not None and count >= limit:
            raise _refused(caller, count, what, limit, "wait for some, or cancel them", _SOON_S)
    stored = sum(job.stored_bytes for job in own)
    if limits.max_bytes is not None and stored >= limits.max_bytes:
        advice = "have some deleted (`dragoman delete`)"
        raise _refused(caller, stored, "bytes in artifacts", limits.max_bytes, advice, _LATER_S)
    if limits.max_llm_tokens is not None:
        _check_tokens(caller, own, limits.max_llm_tokens, now)


def _check_tokens(caller: Principal, own: Sequence[JobRecord], limit: int, now: float) -> None:
    begin = now - TOKEN_WINDOW_S
    counted = sorted(
        (job for job in own if job.llm_tokens and (not job.state.terminal or job.end_time > begin)),
        key=lambda job: job.end_time or float("inf"),
    )
    spent = sum(job.llm_tokens for job in counted)
    if spent < limit:
        return
    left, until = spent, now + _SOON_S
    for job in counted:
        left -= job.llm_tokens
        if left < limit:
            until = job.end_time + TOKEN_WINDOW_S if job.end_time else now + _LATER_S
            break
    what = "language-model tokens of the last 24 hours"
    raise _refused(caller, spent, what, limit, "wait until older ones no longer count", round(max(1.0, until - now)))


def _refused(caller: Principal, count: int, what: str, limit: int, advice: str, seconds: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"{caller.name} has {count} {what} and may have {limit}; {advice}", reason="QUOTA", retry_seconds=seconds
    )
