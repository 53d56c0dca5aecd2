"""Archives of strangers: what is unpacked is whole, plain and below the target, or nothing is."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from lookalike.core.errors import LookalikeError
from lookalike.data import archives
from lookalike.data.archives import unpack

FILES = {"top/a.txt": b"first", "top/inner/b.bin": bytes(range(256)) * 1000}


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def plain(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def make_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_whole_archives_are_unpacked(tmp_path: Path, kind: str) -> None:
    if kind == "zip":
        archive = make_zip(tmp_path / "a", list(FILES.items()))
    else:
        archive = make_tar(tmp_path / "a", [(plain(name), content) for name, content in FILES.items()], kind)
    unpack(archive, tmp_path / "out")
    unpacked = {
        str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    assert unpacked == FILES


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip"])
@pytest.mark.parametrize("kept", [0.1, 0.6, 0.95])
def test_truncated_archives_leave_nothing(tmp_path: Path, kind: str, kept: float) -> None:
    noise = {"a": os.urandom(300_000), "b": os.urandom(300_000)}
    if kind == "zip":
        archive = make_zip(tmp_path / "a.zip", list(noise.items()))
    else:
        archive = make_tar(tmp_path / "a.tar", [(plain(name), content) for name, content in noise.items()], kind)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * kept)])
    with pytest.raises(LookalikeError, match=r"archive .*/a\.(tar|zip) (is truncated or damaged|holds)"):
        unpack(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]


link = zipfile.ZipInfo("link")
link.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ([(plain("../evil"), b"x")], "'../evil', which points outside"),
        ([(plain("/etc/evil"), b"x")], "'/etc/evil', which points outside"),
        ([(plain("a/../../evil"), b"x")], "which points outside"),
        ([(plain("link", tarfile.SYMTYPE, "/etc/passwd"), b"")], "'link', which is a link or a device"),
        ([(plain("hard", tarfile.LNKTYPE, "a"), b"")], "which is a link or a device"),
        ([(plain("null", tarfile.CHRTYPE), b"")], "which is a link or a device"),
        ([(plain("pipe", tarfile.FIFOTYPE), b"")], "which is a link or a device"),
        ([(plain("a"), b"x"), (plain("./a"), b"y")], "holds './a' twice"),
        ([(plain("a"), b"x"), (plain("a/b"), b"y")], "as a file and as a folder|could not be unpacked"),
        ([("../evil", b"x")], "'../evil', which points outside"),
        ([("C:/evil", b"x")], "which points outside"),
        ([(link, b"/etc/passwd")], "'link', which is a link or a device"),
        ([("bomb", bytes(200 << 20))], "grows to more than 50 times its size at 'bomb'"),
        ([(plain("bomb"), bytes(200 << 20))], "grows to more than 50 times its size at 'bomb'"),
        ([], "holds no file"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, members: list, what: str) -> None:
    packed = members and isinstance(members[0][0], str | zipfile.ZipInfo)
    archive = make_zip(tmp_path / "a", members) if packed else make_tar(tmp_path / "a", members)
    with pytest.raises(LookalikeError, match=rf"archive .*/a .*({what})"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "deep" / "out").exists()
    assert not list((tmp_path / "deep").iterdir())


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    archive = make_tar(tmp_path / "a", [(plain(str(number)), b"") for number in range(4)])
    with pytest.raises(LookalikeError, match="holds more than 3 files"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("how", ["cut after a member", "spoilt header"])
def test_a_tar_that_ends_between_two_members_is_not_whole(tmp_path: Path, mode: str, how: str) -> None:
    """tarfile takes both for the end of the archive."""
    import gzip

    members = [(plain(name), name.encode() * 100) for name in "abcd"]
    content = bytearray(make_tar(tmp_path / "whole", members, "w").read_bytes())
    third = 2 * 1024  # a header and a block of content each
    content = content[:third] if how.startswith("cut") else content[:third] + b"x" * 512 + content[third + 512 :]
    (tmp_path / "a.tar").write_bytes(content if mode == "w" else gzip.compress(content))
    with pytest.raises(LookalikeError, match=r"a.tar is truncated or damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()
