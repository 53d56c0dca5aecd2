"""Asked to stop: a training keeps its checkpoint and ends, so that the same command goes on from it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

# SIGTERM and SIGUSR1 are SLURM's (scancel, preemption, the warning before the time limit), SIGINT is Ctrl-C.
ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """While entered, remembers a signal that asks to stop instead of dying from it.

    Attributes:
        signal: its name, empty until one came.
    """

    def __init__(self) -> None:
        self.signal = ""
        self._before: dict[int, Any] = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._remember) for number in ASKING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
