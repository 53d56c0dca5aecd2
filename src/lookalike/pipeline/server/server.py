"""The warm server: everything imported, nothing computed, one forked child a job.

It touches no GPU and runs no operator, so that a child starts as a new process would: no thread pool, no CUDA context.
A child whose client is gone is ended; a child whose server is gone is killed by the kernel. Without work for
`IDLE_SECONDS` the server ends.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from typing import Any, NoReturn

from lookalike.pipeline.server.client import exactly, send

IDLE_SECONDS = 120.0
GRACE_SECONDS = 20.0  # a child that was told to end is killed after so long
REQUEST_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
# Beside the modules of stages, methods and networks: what these import where they need it.
LOADED = (
    "lookalike.cli.main",
    "lookalike.cli.progress",
    "lookalike.tracking.live",
    "lookalike.reporting.drawing.explanations",
    "lookalike.reporting.human_study_cells",
    "lookalike.reporting.panels",
    "lookalike.reporting.run_tables",
    "scipy.stats",
    "sklearn.cluster",
)


class Server:
    """Listens, forks, reports."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.jobs: dict[int, socket.socket] = {}  # child -> its client
        self.ending: dict[int, float] = {}  # child that was told to end -> when it is killed
        self.selector = selectors.DefaultSelector()
        self.woken, wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a server that was killed; its clients hold the lock while we start
        self.listener.bind(path)
        self.listener.listen(128)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.woken, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until nothing was to do for a while."""
        last = time.monotonic()
        while self.jobs or time.monotonic() - last < IDLE_SECONDS:
            for key, _ in self.selector.select(timeout=1):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj == self.woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.woken, 4096)
                elif isinstance(key.data, int):
                    self.end(key.data)  # a client says nothing more: it is readable when it is gone
            self.reap()
            if self.jobs:
                last = time.monotonic()
        os.unlink(self.path)

    def accept(self) -> None:
        """Take one job and fork."""
        client, _ = self.listener.accept()
        try:
            client.settimeout(REQUEST_SECONDS)
            request, descriptors = read_request(client)
        except (OSError, ValueError, EOFError):
            client.close()
            return
        server, child = os.getpid(), os.fork()
        if child == 0:
            self.become_job(server, client, request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.jobs[child] = client
        with contextlib.suppress(OSError):
            send(client, {"pid": child})
        self.selector.register(client, selectors.EVENT_READ, child)

    def become_job(
        self, server: int, client: socket.socket, request: dict[str, Any], descriptors: list[int]
    ) -> NoReturn:
        """Run the command in this forked process; never returns."""
        status = 1
        try:
            os.setsid()  # its own group: a signal reaches what the job starts, and nothing else
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != server:
                os._exit(1)  # it was killed before the kernel knew; the client asks another
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.selector.close()
            for connection in (self.listener, client, *self.jobs.values()):
                connection.close()
            for target, descriptor in enumerate(descriptors):
                os.dup2(descriptor, target)
                os.close(descriptor)
            # Python's own streams may hold what the server wrote.
            modes = ("r", "w", "w")
            sys.stdin, sys.stdout, sys.stderr = (
                open(number, mode, buffering=1, closefd=False)  # noqa: SIM115
                for number, mode in enumerate(modes)
            )
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            sys.argv = ["lookalike", *request["arguments"]]
            runpy.run_module("lookalike", run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def end(self, child: int) -> None:
        """End a job whose client is gone."""
        self.selector.unregister(self.jobs[child])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGTERM)
        self.ending[child] = time.monotonic() + GRACE_SECONDS

    def reap(self) -> None:
        """Report children that ended, kill those that did not when they were told to."""
        for child, deadline in list(self.ending.items()):
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
        for child, client in list(self.jobs.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                send(client, {"exit": code if code >= 0 else 128 - code})
            if self.ending.pop(child, None) is None:
                self.selector.unregister(client)
            client.close()
            del self.jobs[child]


def read_request(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A job and the files it reads and writes.

    Raises:
        ValueError: It is none of ours, or comes from another user.
    """
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if struct.unpack("3i", credentials)[1] != os.getuid():
        raise ValueError("another user")
    room = socket.CMSG_SPACE(3 * array.array("i").itemsize)
    head, rights, _, _ = client.recvmsg(4, room)
    descriptors = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data)
    if len(head) != 4 or len(descriptors) != 3:
        raise ValueError("no job")
    request = json.loads(exactly(client, struct.unpack("!I", head)[0]))
    client.settimeout(None)
    return request, list(descriptors)


def main() -> None:
    """Load everything, then serve."""
    from lookalike.backbones.registry import BACKBONES
    from lookalike.methods.registry import METHODS
    from lookalike.pipeline.stage_table import STAGES

    stages = [stage.module for stage in STAGES.values()]
    methods = [method.classifier_module for method in METHODS.values()]
    backbones = [row.module for row in BACKBONES.values()]
    settings = [method.settings_class() for method in METHODS.values()]
    shown = [figure.draw.partition(":")[0] for entry in settings for figure in entry.figures]
    analyses = [analysis.compute.partition(":")[0] for entry in settings for analysis in entry.analyses]
    for name in dict.fromkeys((*LOADED, *stages, *methods, *backbones, *shown, *analyses)):
        importlib.import_module(name)
    Server(sys.argv[1]).run()


if __name__ == "__main__":
    main()
