"""The client, as coroutines."""

import asyncio
from collections.abc import Mapping

from dragoman.client._artifacts import Artifacts
from dragoman.client._jobs import Jobs
from dragoman.client._records import ServerInfo
from dragoman.client._submits import Submits
from dragoman.errors import DragomanError


class AsyncClient(Submits, Jobs, Artifacts):
    """Talks to the services. Use it as `async with AsyncClient() as client:`, in one event loop.

    Args:
        addresses: Service to host:port, or an Addresses with token and TLS. Default: environment variables
            DRAGOMAN_ACTIVATION_ADDRESS and its like, else the stack of `home`.
        home: The laptop stack's folder. Default: DRAGOMAN_HOME, else ~/.dragoman.
        timeout: Seconds for one attempt of one call.
        patience: Seconds for which a server that went away is tried again.

    Raises:
        Unavailable: No addresses were given and no stack is running.
    """

    async def server_info(self) -> Mapping[str, ServerInfo | DragomanError]:
        """Returns what each known server says of itself, or why it does not."""

        async def ask(address: str) -> ServerInfo | DragomanError:
            try:
                return await self._info(address, patient=False)
            except DragomanError as error:
                return error

        answers = await asyncio.gather(*(ask(address) for address in self.addresses.of.values()))
        return dict(zip(self.addresses.of, answers, strict=True))
