"""Run a script with rxws at one end of a proxy and a peer at the other, and check the result.

The expected result comes from the bytes that the proxy saw, read by an independent parser: the
messages and the close frame that were complete before the cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase

import rxws
from support.faults.peers import AiohttpScriptPeer, RawScriptPeer, WebsocketsScriptPeer
from support.faults.proxy import Proxy
from support.faults.script import Script
from support.peers.decoder import Decoded
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.raw import PATIENCE

Verdict = tuple[int, str, str]  # code, reason, and whose it was
AnyScriptPeer = RawScriptPeer | WebsocketsScriptPeer | AiohttpScriptPeer
LOST = rxws.Close(1006)


class Trial:
    """One run of a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.proxy: Proxy
        self.script_peer: AnyScriptPeer
        self.seen: ConnectionSubscriber
        self.said: list[str | bytes] = []  # what was pushed into `outgoing`, in order
        self.asked = False  # whether we closed while the connection was open
        self.opened: asyncio.Future[None] = asyncio.Future()
        self.talking: asyncio.Future[None] = asyncio.Future()  # whether there is a script_peer
        self._rest = list(script.outbound)
        self._came = 0

    # --- the pipeline

    def compose(self, conn: AnyConnection) -> None:
        """Play rxws's part of the script."""
        self.seen = ConnectionSubscriber(conn)
        script = self.script
        conn.incoming.subscribe(self._on_message, lambda _: None)
        if script.asks == 0:
            self._ask()
        elif script.asks is None or script.bursts < 100:
            self._push()
        self.opened.set_result(None)

    def _push(self) -> None:
        """Push some messages now, the others in later turns."""
        for message in self._rest[: self.script.bursts]:
            self._say(message)
        del self._rest[: self.script.bursts]
        if self._rest:
            asyncio.get_running_loop().call_soon(self._push)

    def _say(self, message: str | bytes) -> None:
        self.said.append(message)
        self.seen.conn.outgoing.on_next(message)

    def _on_message(self, message: str | bytes) -> None:
        if self.script.echoes:
            self._say(message)
        self._came += 1
        if self.script.holds and self._came % 3 == 0:
            self._let_go_in(self.script.holds, self.seen.conn.flow.pause())
        if self._came == self.script.asks:
            self._ask()

    def _let_go_in(self, turns: int, hold: DisposableBase) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._let_go_in, turns - 1, hold)
        else:
            hold.dispose()

    def _ask(self) -> None:
        """Push the remaining messages and close."""
        while self._rest:
            self._say(self._rest.pop(0))
        self.asked = not self.seen.ends
        if self.script.ours.code == 1000:
            self.seen.conn.outgoing.on_completed()
        else:
            self.seen.conn.outgoing.on_next(self.script.ours)

    # --- the run

    async def run(self, target: int, connect: Callable[[int], Any]) -> None:
        """Run both ends through a proxy to this port until the connection has ended."""
        script = self.script
        self.proxy = Proxy(
            target,
            script.cut,
            script.up,
            script.down,
            script.seed,
            receive_buffer=4096 if script.slow else None,
        )
        async with self.proxy:
            talking = asyncio.create_task(connect(self.proxy.port))
            try:
                await self._finish(talking)
            finally:
                talking.cancel()
                await asyncio.wait([talking])

    async def _finish(self, talking: asyncio.Task[None]) -> None:
        script = self.script
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self.opened, talking], return_when="FIRST_COMPLETED")
            if talking.done():
                talking.result()
            await self.opened
            await self.talking
        if not script.peer_closes and script.asks is None:
            count = len(script.inbound)
            await self.seen.until(lambda: self.seen.ends or len(self.seen.values) >= count)
            async with asyncio.timeout(PATIENCE):
                await self.script_peer.until(count if script.echoes else len(script.outbound))
            self.proxy.cut_now(script.late)
        await self.seen.end()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([talking])
            talking.result()
        await self.proxy.ended()

    # --- the judgement

    @property
    def is_reset(self) -> bool:
        """Whether a reset may have discarded what the kernel buffered."""
        return self.proxy.how == "rst" or self.proxy.resets

    @property
    def delivered(self) -> Decoded:
        """The messages that the proxy forwarded to rxws."""
        return self.proxy.lanes[self.script.way_in].passed(self.proxy.extension)

    @property
    def told(self) -> tuple[list[Any], rxws.Close, str, bool]:
        """What rxws reported: messages, close, who closed, and whether `incoming` completed."""
        close = self.seen.closes[0]
        return self.seen.values, close, close.by, self.seen.error is None

    def judge(self) -> None:
        """Compare what rxws reported and sent with what the proxy forwarded."""
        delivered = self.delivered
        lane = self.proxy.lanes[self.script.way_out]
        sent = lane.passed(self.proxy.extension, len(lane.received))
        passed = lane.passed(self.proxy.extension)
        self._judge_close(delivered, sent)
        values = self.seen.values
        if self.is_reset:
            assert values == delivered.messages[: len(values)], "not a prefix"
        else:
            assert values == delivered.messages, "received and delivered differ"
        assert sent.messages == self.said[: len(sent.messages)], "what was sent has gaps"
        heard = self.script_peer.heard
        assert heard == passed.messages[: len(heard)], "the peer heard what was not sent"
        if isinstance(self.script_peer, RawScriptPeer) and not self.is_reset:
            assert heard == passed.messages, "the peer did not hear what was passed on"
        close = self.seen.closes[0]
        if close.by == "local" and not self.is_reset:
            assert len(sent.messages) >= self._said_before_close, "a close before its messages"
        self._judge_stats(len(delivered.messages))

    @property
    def _said_before_close(self) -> int:
        script = self.script
        return min(script.asks or 0, len(self.said)) if script.echoes else len(script.outbound)

    def _judge_close(self, delivered: Decoded, sent: Decoded) -> None:
        close, error = self.seen.closes[0], self.seen.error
        told = (close.code, close.reason, close.by)
        assert told in self._verdicts(delivered, sent), (
            f"told {told}; the peer's close {delivered.close} after {len(delivered.messages)}, "
            f"ours {sent.close} after {len(sent.messages)} of {len(self.said)}"
        )
        if close.by == "local" or close.code in (1000, 1001, 1005):
            assert error is None, "no completion"
        else:
            assert type(error) is rxws.ConnectionClosed, f"a clean completion, or {error!r}"
            assert (error.close, error.close.by) == (close, close.by)

    def _verdicts(self, delivered: Decoded, sent: Decoded) -> list[Verdict]:
        """Return the permitted ends: one, or several after a reset."""
        ours: Verdict = (self.script.ours.code, self.script.ours.reason, "local")
        lost: Verdict = (LOST.code, "", "network")
        theirs: Verdict | None = None
        if delivered.close is not None:
            theirs = (delivered.close.code, delivered.close.reason, "peer")
        if sent.close is not None:  # whose close it is, its code tells
            if self.asked and sent.close.code == ours[0]:
                # Where it came to the proxy after the cut, it may have crossed the end of TCP.
                return [ours] if self._close_before_cut() else [ours, lost]
            assert theirs is not None, f"a close of nobody's: {sent.close}"
            assert theirs[0] == sent.close.code
            return [theirs]
        if not self.is_reset:
            assert theirs is None, "a close was not answered, though TCP would have taken it"
            return [lost]
        candidates = [lost, theirs, ours if self.asked else None]
        return [one for one in candidates if one is not None]

    def _close_before_cut(self) -> bool:
        lane = self.proxy.lanes[self.script.way_out]
        seen = len(lane.received) if lane.at_cut is None else lane.at_cut
        return lane.passed(self.proxy.extension, seen).close is not None

    def _judge_stats(self, delivered: int) -> None:
        stats = self.seen.conn.flow.stats
        assert stats.received_messages <= delivered
        dropped = sum(stats.dropped.values())
        assert (
            stats.sent_messages + len(self.seen.values) + dropped
            == len(self.said) + stats.received_messages
        ), f"messages that are in no account: {stats}"
