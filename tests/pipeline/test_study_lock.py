"""One controller a study, and the SLURM jobs that are its own."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.study_lock import _cancel_orphans, clear_marks, lock_holder, lock_study
from lookalike.study.plan import Plan

ROOT = Path(__file__).parents[2]


def test_sacct_is_translated(tmp_path: Path) -> None:
    """Where there is a sacct, the wrapper finds it behind itself; its failure stays one."""
    real = tmp_path / "sacct"
    wrapper = ROOT / "profiles" / "slurm" / "bin"
    environment = {**os.environ, "PATH": f"{wrapper}:{tmp_path}:{os.environ['PATH']}", "LOOKALIKE_SACCT_PAUSE": "0"}
    for text, status in (("1|CANCELLED by 0\n2|COMPLETED", 0), ("", 3)):
        real.write_text(f"#!/bin/sh\nprintf '{text}'\nexit {status}\n")
        real.chmod(0o755)
        done = subprocess.run(["sacct", "-X"], env=environment, capture_output=True, text=True)
        assert done.returncode == bool(status)
        assert done.stdout == ("" if status else "1|CANCELLED\n2|COMPLETED\n")


def test_two_controllers_of_a_study(tiny: Plan) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom lookalike.pipeline.study_lock import lock_study\n"
        "from lookalike.study.plan import Plan\nlock_study(Plan.read(Path(sys.argv[1])), None)\n"
        "print('has it', flush=True)\ntime.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(tiny.path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "has it\n"
    with pytest.raises(LookalikeError, match=rf"study tiny is being run already \(process [^ ]*:{first.pid}\); wait "):
        lock_study(tiny, None)
    first.kill()
    first.wait()
    assert lock_study(tiny, None) == 0


def test_a_study_takes_only_its_own_jobs_for_its_own(
    tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of a study whose name begins alike, of another folder, and none are missed where SLURM is silent."""
    fields = "|None|1:00:00|1G|1|main|rule_train|"
    rows = [f"{n}|lookalike-{name}-u{fields}{folder}" for n, name, folder in
            ((1, "tiny", Path.cwd()), (2, "tiny_big", Path.cwd()), (3, "tiny", "/elsewhere"))]  # fmt: skip
    (tmp_path / "jobs").write_text("\n".join(rows) + "\n")
    for name, text in (
        ("squeue", f"cat {tmp_path}/jobs"),
        ("scancel", f'echo "$@" > {tmp_path}/cancelled; : > {tmp_path}/jobs'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert _cancel_orphans(tiny) == 1
    assert (tmp_path / "cancelled").read_text() == "1\n"
    (tmp_path / "squeue").write_text("#!/bin/sh\necho no answer >&2\nexit 1\n")
    with pytest.raises(LookalikeError, match=r"squeue does not answer \(no answer\)"):
        _cancel_orphans(tiny)


def test_stale_locks_go_only_where_no_controller_is_alive(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.root)
    lock = tiny.root / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with open(tiny.folder / ".controller", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        clear_marks(tiny.root)
        assert lock.exists()
        assert lock_holder(tiny) == "another process"
    clear_marks(tiny.root)
    assert not lock.exists()
    assert lock_holder(tiny) == ""
