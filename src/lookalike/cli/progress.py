"""How a training is followed on the terminal, in its log and in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lookalike.pipeline.stage_table import Item
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    from lookalike.training.loop import Progress


def followed(has_bar: bool) -> Callable[[Plan, Item, Callable[..., Any]], Callable[[], str]]:
    """A function that gives a training with a progress bar or log lines, mirrored live.

    Args:
        has_bar: Whether a bar is shown.
    """

    def around(plan: Plan, item: Item, train: Callable[..., Any]) -> Callable[[], str]:
        return lambda: _train(plan, item, train, has_bar)

    return around


def _train(plan: Plan, item: Item, train: Callable[..., Any], has_bar: bool) -> str:
    from rich.console import Console
    from rich.progress import Progress as Bars

    from lookalike.tracking.live import LiveTracker

    run = item.run
    assert run is not None
    training = plan.settings_of(run).own_training
    total, last = 0 if training is None else training.epochs, {}
    tracker = LiveTracker(plan, run)
    with Bars(console=Console(stderr=True), disable=not has_bar, transient=True) as bars:
        bar = bars.add_task(run.id, total=total)

        def on_epoch(progress: Progress) -> None:
            history = progress.history or []
            if history:
                last.update(history[-1])
                logging.getLogger("lookalike").info(
                    "epoch %d/%d loss %.4f accuracy %.4f lr %.5f",
                    last["epoch"],
                    total,
                    last["loss"],
                    last["accuracy"],
                    last["lr"],
                )
            bars.update(bar, completed=len(history))
            tracker(progress, last=len(history) == total)

        train(on_epoch=on_epoch)
    if not last:
        return "trained by another process meanwhile"
    return f"loss {last['loss']:.4f}, training accuracy {last['accuracy']:.2%}"
