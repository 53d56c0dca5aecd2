"""Whole files or none."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, write_json, writing


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), writing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


WRITERS = {  # what to import, and what to call
    "bytes": ("lookalike.core.files import writing", "\n with writing(path) as t: t.write_bytes(bytes(100_000))"),
    "tensors": ("lookalike.core.tensors import write_tensors", "write_tensors(path, {'x': torch.zeros(100_000)})"),
    "checkpoint": (
        "lookalike.training.checkpoint import save_checkpoint",
        "save_checkpoint(path, 'key', {'x': torch.zeros(100_000)})",
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, writer: str) -> None:
    """A real failing write: the process may write no file above 10 kB."""
    path = tmp_path / "out.bin"
    path.write_text("old")
    imported, call = WRITERS[writer]
    code = (
        "import sys\nfrom pathlib import Path\nfrom lookalike.core.errors import LookalikeError\n"
        f"from {imported}\n" + "import torch\n" * ("torch" in call) + "path = Path(sys.argv[1])\n"
        f"try: {call}\nexcept LookalikeError as error: print(error)\n"
    )

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], preexec_fn=limit, capture_output=True, text=True, check=True
    )
    assert "out.bin could not be written (" in done.stdout
    assert "free some space" in done.stdout
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.bin"]


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": [1, 2]}
    with pytest.raises(LookalikeError, match="is missing"):
        read_json(tmp_path / "b.json")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (Path("/proc/none/out.json"), tmp_path / "file" / "out.json"):
        with pytest.raises(LookalikeError, match=r"out.json could not be written \(.*mend the permissions"):
            write_json(path, {})


def test_json_that_is_very_deep_or_long_is_refused(tmp_path: Path) -> None:
    for text in ("[" * 100_000, "9" * 5000, "\xff", "{"):
        (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(LookalikeError, match=r"a.json is not valid JSON .*; delete it and run again"):
            read_json(tmp_path / "a.json")
