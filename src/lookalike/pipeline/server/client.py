"""Run `lookalike ARGUMENTS` in a child of the warm server; start the server where there is none.

Started as `python -S -E client.py ARGUMENTS`: standard library only, so that a job costs milliseconds instead of the
seconds that importing torch takes. Wherever the server cannot help, the command runs as a process of its own.
"""

import array
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(PACKAGE))
from lookalike.core.locks import locked, private_folder  # noqa: E402

LONGEST_FOLDER = 80  # letters: a socket's path has at most 107 (unix(7)), and clusters name TMPDIR after the job
START_SECONDS = 120.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def socket_path() -> str:
    """The place where the server of this user, interpreter and state of the code listens.

    Raises:
        OSError: The folder belongs to somebody else.
    """
    folder = private_folder()
    if len(folder) > LONGEST_FOLDER:
        folder = private_folder("/tmp")  # noqa: S108, it is checked to be this user's alone
    # An allocation has a server of its own, which ends with it.
    code = hashlib.sha256(f"{sys.executable} {os.environ.get('SLURM_JOB_ID')}".encode())
    for parent, folders, files in os.walk(PACKAGE):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                status = os.stat(os.path.join(parent, name))
                code.update(f"{parent}/{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return os.path.join(folder, code.hexdigest()[:20])


def connect(path: str) -> socket.socket:
    """A connection to the server, which is started where it does not answer.

    Raises:
        OSError: There is no server and none could be started.
    """
    try:
        return _connected(path)
    except OSError:
        pass
    with locked(path + ".lock"):  # of several clients one starts it
        try:
            return _connected(path)
        except OSError:
            pass
        with open(path + ".log", "ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "lookalike.pipeline.server.server", path],
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.path.dirname(PACKAGE)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            try:
                return _connected(path)
            except OSError:
                time.sleep(0.05)
    raise OSError("the server did not start")


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def send(connection: socket.socket, message: object, descriptors: tuple[int, ...] = ()) -> None:
    """One message: its length, then JSON; file descriptors travel with the length."""
    content = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([struct.pack("!I", len(content))], rights)
    connection.sendall(content)


def receive(connection: socket.socket) -> object:
    """The next message.

    Raises:
        EOFError: The other side is gone.
    """
    return json.loads(exactly(connection, struct.unpack("!I", exactly(connection, 4))[0]))


def exactly(connection: socket.socket, count: int) -> bytes:
    """The next bytes, so many as asked.

    Raises:
        EOFError: The other side is gone.
    """
    content = b""
    while len(content) < count:
        part = connection.recv(count - len(content))
        if not part:
            raise EOFError("the server is gone")
        content += part
    return content


def start_job(path: str, arguments: list[str]) -> tuple[socket.socket, int]:
    """The connection to the server that runs the command in a child, and this child's number.

    Raises:
        OSError: No server took the job.
    """
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    for _ in range(2):
        connection = connect(path)
        try:
            send(connection, request, (0, 1, 2))
            return connection, int(receive(connection)["pid"])  # type: ignore[index]
        except (OSError, EOFError):
            # A process that is being killed still accepts connections for a while: no child, so nothing has run.
            connection.close()
    raise OSError("the server does not take the job")


def wait_for_job(connection: socket.socket, child: int) -> int:
    """Exit status of the job; signals to this process go to the child."""
    for number in FORWARDED:
        signal.signal(number, lambda number, frame: os.killpg(child, number))
    try:
        return int(receive(connection)["exit"])  # type: ignore[index]
    except EOFError:
        print("error: the server that ran this job is gone; run the command again.", file=sys.stderr)
        return 1


def main() -> int:
    """Ask the server, or run the command as it is."""
    arguments = sys.argv[1:]
    try:
        connection, child = start_job(socket_path(), arguments)
    except OSError:
        os.environ["PYTHONPATH"] = os.path.dirname(PACKAGE)
        os.execv(sys.executable, [sys.executable, "-m", "lookalike", *arguments])  # noqa: S606
    with connection:
        return wait_for_job(connection, child)


if __name__ == "__main__":
    sys.exit(main())
