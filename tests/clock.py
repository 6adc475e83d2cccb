"""Virtual time: a clock that a test lets run, in seconds or by single turns of a loop."""

from __future__ import annotations

from reactivex.scheduler import VirtualTimeScheduler

__all__ = ["Clock"]


class Clock(VirtualTimeScheduler):
    """Virtual time in seconds, from 0 on."""

    @property
    def time(self) -> float:
        """The seconds that have passed."""
        return round(self.to_seconds(self.now), 6)

    def turn(self) -> None:
        """Run what is due by now, but not what that puts on for the next turn."""
        end = self.schedule(lambda *_: self.stop())
        try:
            self.start()
        finally:  # an action that raises leaves the scheduler switched on
            self.stop()
            end.dispose()

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        try:
            self.advance_by(seconds)
        finally:
            self.stop()
