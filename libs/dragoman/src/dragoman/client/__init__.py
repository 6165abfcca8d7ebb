"""The Python client: submit jobs, watch them, fetch what they made.

    from dragoman.client import Client

    with Client() as client:                         # the laptop stack; or Client({"activation": "host:port", ...})
        job = client.submit("tokens", {"source": "./texts", "tokenizer": "HuggingFaceTB/SmolLM2-135M"})
        job = client.wait(job.id)
        folder = client.download(job.id, "./artifacts")

`AsyncClient` has the same verbs as coroutines. Failures are the typed errors of `dragoman.errors`.
"""

from dragoman.client._addresses import Addresses
from dragoman.client._async import AsyncClient
from dragoman.client._records import Capability, GarbageLine, KindInfo, LineageNode, ServerInfo
from dragoman.client._sync import Client
from dragoman.jobs import DeadLetter, JobEvent, JobState
from dragoman.jobs import JobRecord as Job

__all__ = [
    "Addresses",
    "AsyncClient",
    "Capability",
    "Client",
    "DeadLetter",
    "GarbageLine",
    "Job",
    "JobEvent",
    "JobState",
    "KindInfo",
    "LineageNode",
    "ServerInfo",
]
