"""What an engine can do: asked once by a process, and shared by whoever asks meanwhile."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from dragoman.llm.client import LLMClient
from dragoman.llm.endpoint import Endpoint


class Abilities:
    """Of the models behind an endpoint. Each is found out by a short request, in a thread of its own."""

    def __init__(self, endpoint: Endpoint, probes: Mapping[str, Callable[[LLMClient], bool]]) -> None:
        """`probes`: by the name of an ability, what finds it out."""
        self._endpoint, self._probes = endpoint, probes
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], Future[bool]] = {}

    def can(self, model: str, ability: str) -> bool:
        """Returns whether the engine can do it with a model. What was answered is kept, a failure is not.

        Raises:
            LLMTimeout, LLMUnavailable: no reply within the endpoint's own timeout, or no engine.
        """
        return self._question(model, ability).result()

    def can_within(self, model: str, ability: str, seconds: float) -> bool | None:
        """Returns the same, None where the engine has not said so in time. Raises as `can`.

        The question stays with the engine, and its answer is there for who asks later.
        """
        try:
            return self._question(model, ability).result(seconds)
        except TimeoutError:
            return None

    def _question(self, model: str, ability: str) -> Future[bool]:
        with self._lock:
            asked = self._asked.get((model, ability))
            if asked is None or (asked.done() and asked.exception() is not None):
                asked = self._asked[model, ability] = Future()
                # Not one of a pool's threads, for which a process that ends would wait.
                threading.Thread(target=self._ask, args=(model, ability, asked), name="llm-probe", daemon=True).start()
        return asked

    def _ask(self, model: str, ability: str, asked: "Future[bool]") -> None:
        try:
            with self._endpoint.client(model) as client:
                found = self._probes[ability](client)
        except BaseException as error:  # noqa: BLE001  whoever waits is told
            asked.set_exception(error)
        else:
            asked.set_result(found)
