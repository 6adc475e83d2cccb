"""A client of hubs in virtual time, and the server that it talks to, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import rxws
from rxws import backoff
from rxws.hub import HubClient
from support.subscriber import Subscriber
from support.virtual.servers import Dial, OnDial, VirtualServers
from support.virtual.subject import close_code_of, open_at_once, received_by

__all__ = ["VirtualHubClient"]


class VirtualHubClient:
    """A client, and a server whose replies the test writes.

    Args:
        token: The client's.
        meets: Called with one dial each; those that follow open at once.
        options: The client's; by default it waits 1 s before it reconnects.
    """

    def __init__(self, token: Any = None, meets: Iterable[OnDial] = (), **options: Any) -> None:
        self.servers = VirtualServers(*meets, open_at_once())
        self.clock = self.servers.clock
        options.setdefault("backoff", backoff.constant(1.0))
        self.client: HubClient = rxws.hub.connect(
            self.servers.source, token, scheduler=self.clock, **options
        )
        self._seen: dict[int, int] = {}
        self._queue: list[Any] = []

    @property
    def dial(self) -> Dial:
        """The latest connection."""
        return self.servers.dials[-1]

    def run(self, seconds: float = 0.0) -> None:
        self.clock.run(seconds)

    def subscribe(self, stream: Any) -> Subscriber[Any]:
        return Subscriber(stream, self.clock)

    # --- what the server does -------------------------------------------------------------------

    def lines(self) -> list[Any]:
        """Return the lines that the server has received since the last call."""
        self.run()
        index = len(self.servers.dials) - 1
        messages = received_by(self.dial) if self.servers.dials else []
        new = messages[self._seen.get(index, 0) :]
        self._seen[index] = len(messages)
        frames = "\n".join(str(each) for each in new)
        return [json.loads(line) for line in frames.split("\n") if line]

    def expect(self, name: str) -> tuple[int, Any]:
        """Return the id and the fields of the next command, which must have this name."""
        self._queue += self.lines()
        assert self._queue, f"no command {name}"
        command = self._queue.pop(0)
        assert name in command, f"{command} instead of {name}"
        return command["id"], command[name]

    def check_silent(self) -> None:
        """Check that the client has sent nothing more."""
        assert [*self._queue, *self.lines()] == []

    def send(self, *lines: Any) -> None:
        """Send a frame of lines; each is text, or a value to be encoded."""
        text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.dial.peer.message("\n".join(text))
        self.run()

    def answer(self, name: str, **result: Any) -> Any:
        """Expect a command, answer it, and return its fields."""
        id_, fields = self.expect(name)
        self.send({"id": id_, name: result})
        return fields

    def refuse(self, name: str, code: int, message: str = "no", **error: Any) -> Any:
        """Expect a command, answer it with an error, and return its fields."""
        id_, fields = self.expect(name)
        self.send({"id": id_, "error": {"code": code, "message": message, **error}})
        return fields

    def publish(self, channel: str, *pubs: Any) -> None:
        """Push publications in one frame: each is its data, or a pair of offset and data."""
        self.send(
            *(
                {"push": {"channel": channel, "pub": dict(zip(("offset", "data"), pub, strict=True))
                 if isinstance(pub, tuple) else {"data": pub}}}
                for pub in pubs
            )
        )  # fmt: skip

    def subscribed(self, epoch: str = "", offset: int = 0, **result: Any) -> Any:
        """Accept a subscription, and return the fields of the command."""
        if epoch:
            result = {"recoverable": True, "positioned": True, **result}
        return self.answer("subscribe", epoch=epoch, offset=offset, **result)

    def reconnect(self, **result: Any) -> None:
        """Lose the connection, and accept the next one."""
        self.dial.peer.lost()
        self.run(1.0)
        self.answer("connect", client="c", **result)

    def close_code(self) -> int | None:
        """Return the code with which the client has closed, and answer it."""
        code = close_code_of(self.dial)
        self.dial.peer.close(code)
        self.run()
        return code

    def check_nothing_left(self) -> None:
        """Close the client, and check that no connection and no timer is left."""
        self.client.dispose()
        self.run()
        if self.servers.dials and not self.dial.is_over:
            self.close_code()
        self.servers.check_nothing_left()
