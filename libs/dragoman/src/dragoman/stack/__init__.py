"""The laptop stack: NATS, an object store, a language model and the four services as child processes.

with Stack(home, LlmChoice()) as stack:
    print(stack.connection())
    stack.wait()
"""

from dragoman.stack.engines import EMBEDDER, JUDGE, LlmChoice
from dragoman.stack.home import STACK_FILE, default_home
from dragoman.stack.laptop import Stack
from dragoman.stack.ports import DEFAULT_BASE, Ports
from dragoman.stack.servers import BUCKET
from dragoman.stack.services import PACKAGES
from dragoman.stack.supervisor import ProcessState

__all__ = [
    "BUCKET", "DEFAULT_BASE", "EMBEDDER", "JUDGE", "PACKAGES", "STACK_FILE", "LlmChoice", "Ports", "ProcessState",
    "Stack", "default_home",
]  # fmt: skip
