"""A real SLURM on this host, for tests/slurm."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "slurm"


def restart(*options: str) -> None:
    """Bring SLURM up, or up again with other options."""
    up = subprocess.run([HERE / "slurm-up", *options], capture_output=True, text=True, timeout=600)
    if up.returncode:
        pytest.fail(f"SLURM does not come up here:\n{up.stdout}{up.stderr}", pytrace=False)
    print(up.stderr)
