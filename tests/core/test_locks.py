"""Locks of the kernel, between real processes: gone with their holder, however it ends."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lookalike.core.locks import is_locked, locked, private_folder, try_lock

HOLD = (
    "import sys, time\nfrom lookalike.core.locks import try_lock\nhandle = try_lock(sys.argv[1])\n"
    "print('free' if handle else 'held', flush=True)\ntime.sleep(60)\n"
)
WAIT = (
    "import sys, time\nfrom lookalike.core.locks import locked\nprint('asks', flush=True)\n"
    "with locked(sys.argv[1]):\n    print(time.monotonic(), flush=True)\n    sys.stdin.readline()\n"
)
Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python code in a process of its own, which ends with the test."""
    processes: list[subprocess.Popen] = []

    def run(code: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "lock"
    assert line(start(HOLD, path)) == "free"
    assert try_lock(path) is None
    assert is_locked(path)
    assert line(start(HOLD, path)) == "held"
    assert line(start(HOLD, tmp_path / "another")) == "free"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_is_gone_when_its_holder_is_killed(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    path = tmp_path / "lock"
    holder = start(HOLD, path)
    assert line(holder) == "free"
    assert is_locked(path)
    holder.send_signal(number)
    assert holder.wait() == -number
    assert not is_locked(path)
    handle = try_lock(path)
    assert handle is not None
    assert is_locked(path)  # by this process now
    handle.close()
    assert not is_locked(path)
    assert path.exists()


def test_waiting_for_a_lock(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "folder" / "lock"  # the folder is made too
    first = start(WAIT, path)
    assert line(first) == "asks"
    assert float(line(first)) > 0  # it holds the lock
    second = start(WAIT, path)
    assert line(second) == "asks"
    time.sleep(0.2)
    killed = time.monotonic()
    first.send_signal(signal.SIGKILL)
    assert float(line(second)) >= killed
    assert is_locked(path)
    second.communicate("leave\n")
    assert second.returncode == 0
    assert not is_locked(path)


def test_a_lock_is_gone_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(KeyboardInterrupt), locked(path):
        assert is_locked(path)
        raise KeyboardInterrupt
    assert not is_locked(path)


def test_the_content_of_a_lock_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("who holds it")
    handle = try_lock(path)
    assert handle is not None
    handle.close()
    with locked(path):
        assert is_locked(path)
    assert path.read_text() == "who holds it"


def test_asking_makes_no_file(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that cannot be opened and file systems without locks are errors; what may be held counts as held."""
    with pytest.raises(FileNotFoundError):
        try_lock(tmp_path / "nowhere" / "lock")
    with pytest.raises(IsADirectoryError):
        try_lock(tmp_path)
    assert is_locked(tmp_path)

    def no_locks(*arguments: object) -> None:
        raise OSError("no locks available")

    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr("lookalike.core.locks.fcntl.flock", no_locks)
    with pytest.raises(OSError, match="no locks available"):
        try_lock(path)
    assert is_locked(path)
    with pytest.raises(OSError, match="no locks available"), locked(path):
        pass


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, of this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_private_folder_is_this_users_alone(temporary: Path) -> None:
    before = os.umask(0)
    try:
        folder = Path(private_folder())
    finally:
        os.umask(before)
    assert folder == temporary / f"lookalike-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "lock").touch()
    assert private_folder() == str(folder)
    assert (folder / "lock").exists()


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused(temporary: Path, mode: int) -> None:
    Path(private_folder()).chmod(mode)
    with pytest.raises(OSError, match="is not a folder of this user alone"):
        private_folder()


def test_a_link_to_a_folder_is_refused(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir(mode=0o700)
    (temporary / f"lookalike-{os.getuid()}").symlink_to(temporary / "elsewhere")
    with pytest.raises(OSError, match="is not a folder of this user alone"):
        private_folder()


def test_a_folder_of_somebody_else_is_refused(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)  # what this process makes is not of user 12345
    with pytest.raises(OSError, match="lookalike-12345 is not a folder of this user alone"):
        private_folder()
