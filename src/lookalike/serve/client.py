"""Run `lookalike ARGUMENTS` in a child of the warm server; start the server where there is none.

Started as `python -S -E client.py ARGUMENTS`: standard library only, so that a job costs milliseconds instead of the
seconds that importing torch takes. Wherever the server cannot help, the command runs as a process of its own.
"""

import array
import fcntl
import hashlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_SECONDS = 120.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def private_folder() -> str:
    """The folder of this user alone for sockets and locks of this machine.

    Raises:
        OSError: it belongs to somebody else.
    """
    folder = os.path.join(tempfile.gettempdir(), f"lookalike-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise OSError(f"{folder} is not a folder of this user alone")
    return folder


def socket_path() -> str:
    """Where the server of this user, interpreter and state of the code listens.

    Raises:
        OSError: the folder belongs to somebody else.
    """
    folder = private_folder()
    # An allocation has a server of its own, which ends with it.
    code = hashlib.sha256(f"{sys.executable} {os.environ.get('SLURM_JOB_ID')}".encode())
    for here, folders, files in os.walk(PACKAGE):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                status = os.stat(os.path.join(here, name))
                code.update(f"{here}/{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return os.path.join(folder, code.hexdigest()[:20])


def connect(path: str) -> socket.socket:
    """A connection to the server, which is started where it does not answer.

    Raises:
        OSError: there is no server and none could be started.
    """
    try:
        return _connected(path)
    except OSError:
        pass
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several clients one starts it
        try:
            return _connected(path)
        except OSError:
            pass
        with open(path + ".log", "ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "lookalike.serve.server", path],
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
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def send(connection: socket.socket, message: object, descriptors: tuple[int, ...] = ()) -> None:
    """One message: its length, then JSON; file descriptors travel with the length."""
    content = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([struct.pack("!I", len(content))], rights)
    connection.sendall(content)


def receive(connection: socket.socket) -> object:
    """The next message.

    Raises:
        EOFError: the other side is gone.
    """
    return json.loads(exactly(connection, struct.unpack("!I", exactly(connection, 4))[0]))


def exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes.

    Raises:
        EOFError: the other side is gone.
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
        OSError: no server took the job.
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
    """Its exit status; signals to this process go to the child."""
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
