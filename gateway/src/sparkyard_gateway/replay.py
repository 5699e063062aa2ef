"""A request that can be answered twice, and an answer that is held back."""

import asyncio

from starlette.types import Message, Receive, Send

from sparkyard_gateway.errors import BodyTooLarge, BodyTooSlow


class Replay:
    """A request's body, kept as it is read, so that it can be read again."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._kept: list[Message] = []
        self._size = 0

    def again(self) -> Receive:
        """The request from its beginning."""
        position = 0

        async def receive() -> Message:
            nonlocal position
            if position == len(self._kept):
                await self._more()
            position += 1
            return self._kept[position - 1]

        return receive

    async def body(self) -> bytes:
        """All of it. Raises BodyTooLarge and BodyTooSlow."""
        try:
            async with asyncio.timeout(self._seconds):
                while not self._kept or self._kept[-1].get("more_body"):
                    await self._more()
        except TimeoutError:
            raise BodyTooSlow(f"The request's body did not arrive within {self._seconds:g} s.") from None
        return b"".join(each.get("body", b"") for each in self._kept if each["type"] == "http.request")

    async def until_gone(self) -> None:
        """Return when the client has hung up."""
        while not self._kept or self._kept[-1]["type"] != "http.disconnect":
            await self._more()

    async def _more(self) -> None:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise BodyTooLarge(f"The request's body is larger than {self._limit} bytes.")
        self._kept.append(message)


class Captured:
    """An answer that is looked at before anyone gets it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def take(self, message: Message) -> None:
        """For the application, in place of `send`."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def give(self, send: Send) -> None:
        """Answer with it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})
