"""The warm server: the same results, exits and signals as a process of its own, and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from helpers.studies import tiny_study

from lookalike.pipeline.server import client as client_module

CLIENT = [sys.executable, "-S", "-E", client_module.__file__]
PLAIN = [sys.executable, "-m", "lookalike"]


class Workplace:
    """A folder with a study, and a server of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sockets = folder, folder / "tmp"
        self.sockets.mkdir()
        self.environment = {
            **os.environ,
            "TMPDIR": str(self.sockets),
            "PYTHONPATH": str(Path(client_module.__file__).parents[3]),
        }

    def run(self, command: list[str], *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            **more,  # type: ignore[call-overload]
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*CLIENT, *arguments], cwd=self.folder, env=self.environment)

    def servers(self) -> list[int]:
        """Process numbers of the servers that listen here."""
        return [
            int(path.name)
            for path in Path("/proc").iterdir()
            if path.name.isdecimal()
            and str(self.sockets).encode() in read(path / "cmdline")
            # forked jobs show the same command line; the server itself is the one that listens
            and int(path.name) == group_leader(path)
        ]

    def jobs(self) -> list[int]:
        """Process numbers of the jobs that the servers run."""
        servers = self.servers()
        return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and parent(p) in servers]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def parent(process: Path) -> int:
    fields = read(process / "stat").decode(errors="replace").rsplit(")", 1)[-1].split()
    return int(fields[1]) if len(fields) > 1 else -1


def group_leader(process: Path) -> int:
    """The process itself where it was started by a client and not forked by a server."""
    above = Path("/proc") / str(parent(process))
    return -1 if b"lookalike.pipeline.server.server" in read(above / "cmdline") else int(process.name)


def wait_for(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path_factory.mktemp("serve"))
    training = {"epochs": 400, "batch_size": 8, "lr": 0.05, "checkpoint_seconds": 0.5}
    slow = tiny_study(name="slow", models={"fc": {"method": "fc", "training": training}})
    for study in (tiny_study(), slow):
        (workplace.folder / f"{study['name']}.yaml").write_text(yaml.safe_dump(study))
    assert workplace.run(PLAIN, "data", "prepare", "digits").returncode == 0
    yield workplace
    for server in workplace.servers():
        os.kill(server, signal.SIGKILL)


def test_the_same_bytes_as_a_process_of_its_own(place: Workplace) -> None:
    weights = place.folder / "results/tiny/digits/nw/100/seed0/model.safetensors"
    assert place.run(PLAIN, "train", "tiny.yaml", "digits/nw/100/seed0").returncode == 0
    plain = weights.read_bytes()
    weights.unlink()
    for _ in range(2):
        done = place.run(CLIENT, "train", "tiny.yaml", "digits/nw/100/seed0")
        assert done.returncode == 0, done.stderr
        assert "train digits/nw/100/seed0: loss" in done.stdout
        assert weights.read_bytes() == plain
    assert len(place.servers()) == 1


def test_exits_messages_and_places_are_those_of_the_command(place: Workplace) -> None:
    for arguments in (["data", "fetch", "nonsense"], ["train", "none.yaml", "x"], ["--help"], ["nonsense"]):
        plain, served = place.run(PLAIN, *arguments), place.run(CLIENT, *arguments)
        assert served.returncode == plain.returncode
        assert served.stdout == plain.stdout
        assert served.stderr == plain.stderr


@pytest.mark.long
def test_many_clients_start_one_server(place: Workplace) -> None:
    for server in place.servers():
        os.kill(server, signal.SIGKILL)
    wait_for(lambda: not place.servers())
    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(lambda _: place.run(CLIENT, "data", "verify", "digits").returncode, range(12)))
    assert codes == [0] * 12
    assert len(place.servers()) == 1


@pytest.mark.long
def test_a_server_that_dies_before_it_takes_the_job(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is being killed still accepts connections until the kernel has freed its memory."""
    for server in place.servers():
        os.kill(server, signal.SIGKILL)
    wait_for(lambda: not place.servers())
    monkeypatch.setattr(tempfile, "tempdir", str(place.sockets))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    path = client_module.socket_path()
    Path(path).unlink(missing_ok=True)
    taken = []

    def die(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        taken.append(connection.recv(1))
        listener.close()
        connection.close()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        dying = threading.Thread(target=die, args=(listener,))
        dying.start()
        done = place.run(CLIENT, "data", "verify", "digits")
        dying.join()
    assert (taken, done.returncode, done.stderr) == ([b"\0"], 0, "")


def start_training(place: Workplace) -> subprocess.Popen[bytes]:
    """A training that has written a checkpoint and goes on."""
    checkpoint = place.folder / "results/slow/digits/fc/100/seed0/checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    process = place.start("train", "slow.yaml", "digits/fc/100/seed0")
    wait_for(checkpoint.exists)
    assert process.poll() is None
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_ends_with_its_client(place: Workplace, number: signal.Signals) -> None:
    process = start_training(place)
    process.send_signal(number)
    assert process.wait(60) != 0
    wait_for(lambda: not place.jobs())
    assert place.run(CLIENT, "data", "verify", "digits").returncode == 0  # the server serves on


@pytest.mark.long
def test_a_job_ends_with_its_server(place: Workplace) -> None:
    process = start_training(place)
    (server,) = place.servers()
    (job,) = place.jobs()
    os.kill(server, signal.SIGKILL)
    assert process.wait(60) == 1
    wait_for(lambda: not Path(f"/proc/{job}").exists())
    done = place.run(CLIENT, "data", "verify", "digits")  # which starts another one
    assert done.returncode == 0
    assert place.servers() != [server]


def test_without_a_folder_of_our_own_the_command_runs_by_itself(place: Workplace, tmp_path: Path) -> None:
    open_folder = tmp_path / f"lookalike-{os.getuid()}"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    environment = {**place.environment, "TMPDIR": str(tmp_path)}
    done = subprocess.run([*CLIENT, "data", "verify", "digits"], cwd=place.folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert list(open_folder.iterdir()) == []
