"""A real SLURM on this host: controller, accounting, two nodes with two fake GPUs each; taken down afterwards."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def slurm() -> Iterator[None]:
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a SLURM of its own needs root and apt-get")
    restart()
    subprocess.run(["scancel", "--user", "root"])  # of a test session that was killed
    yield
    subprocess.run([HERE / "slurm-down"], timeout=120)


def restart(*options: str) -> None:
    """Bring SLURM up, or up again with other options."""
    up = subprocess.run([HERE / "slurm-up", *options], capture_output=True, text=True, timeout=300)
    if up.returncode == 3:
        pytest.skip(up.stderr)
    assert up.returncode == 0, up.stdout + up.stderr
    print(up.stderr)
