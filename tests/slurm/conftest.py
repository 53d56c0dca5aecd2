"""A real SLURM on this host: controller, accounting, two nodes with two fake GPUs each; taken down afterwards.

Where it cannot come up, the tests fail: who asks for them wants to know.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from helpers.slurm import HERE, restart


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session", autouse=True)
def slurm() -> Iterator[None]:
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        pytest.fail("a SLURM of its own needs root and apt-get", pytrace=False)
    os.environ.pop("SLURM_CONF", None)
    restart()
    subprocess.run(["scancel", "--user", "root"])  # of a test session that was killed
    yield
    subprocess.run([HERE / "slurm-down"], timeout=120)
