"""The items of a stage, one after the other: each with its own log and failure."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from lookalike.core.credentials import without_credentials
from lookalike.core.errors import LookalikeError
from lookalike.core.processes import this_process
from lookalike.pipeline.job_log import DONE, FAILED, STARTED


class _Formatter(logging.Formatter):
    """Lines of a log, which travels with results: without passwords."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return without_credentials(super().format(record))


class StageRunner:
    """Runs the items of a stage one after the other; a failed one does not stop the others."""

    def __init__(self, stage: str) -> None:
        logging.getLogger("lookalike").setLevel(logging.INFO)
        self.stage = stage
        self.failed = 0

    def do(self, name: str, log: Path, action: Callable[[], str | None]) -> None:
        """Do one item: traceback to its log, one sentence to the terminal."""
        try:
            handler = logging.FileHandler(kept_log(log), mode="a")
        except OSError as error:
            self.failed += 1
            typer.echo(
                f"error: {self.stage} {name}: {log} could not be written ({error.strerror}); mend the permissions of "
                "its folder, or give it space, and run again.",
                err=True,
            )
            return
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger()
        logger.addHandler(handler)
        ours = logging.getLogger("lookalike")
        ours.info("%s: %s", STARTED, this_process())
        started = time.perf_counter()
        try:
            result = f"{action() or 'done'} in {time.perf_counter() - started:.1f} s"
            ours.info("%s: %s", DONE, result)
            typer.echo(f"{self.stage} {name}: {result}")
        except Exception as error:
            self.failed += 1
            logger.error(traceback.format_exc())
            reason = str(error) if isinstance(error, LookalikeError) else f"{type(error).__name__}: {error}"
            reason = without_credentials(reason)
            ours.error("%s: %s", FAILED, " ".join(reason.split()))
            typer.echo(f"error: {self.stage} {name}: {reason}\n       log: {log}", err=True)
        finally:
            logger.removeHandler(handler)
            handler.close()

    def end(self) -> None:
        """Exit with 1 where an item failed."""
        if self.failed:
            raise typer.Exit(1)


def kept_log(log: Path) -> Path:
    """The file behind a log's name, which holds the attempts before this one too.

    Snakemake deletes a log when it starts a job again, and with it why the last attempt failed; the name is therefore
    a second link to a hidden file beside it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = log.with_name(f".{log.name}")
    kept.touch()
    if not log.exists() or not log.samefile(kept):
        log.unlink(missing_ok=True)
        try:
            os.link(kept, log)
        except OSError:  # a file system without hard links keeps the last attempt only
            kept.unlink()
            return log
    return kept
