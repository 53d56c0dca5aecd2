"""Downloads from a real HTTP server on this machine: resumed, checked, from mirrors, never half."""

import errno
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.core.errors import LookalikeError
from lookalike.data import download, fetched
from lookalike.data.registry import DATA_SETS, SourceFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server serves, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    version: str = '"one"'
    ranges: bool = True
    drop_after: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            served.asked.append((self.path, asked))
            content = served.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = 0
            if asked and served.ranges and self.headers.get("If-Range") == served.version:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", served.version)
            self.end_headers()
            rest = content[start:]
            if served.drop_after:
                rest = rest[: served.drop_after.pop(0)]
                self.close_connection = True
            self.wfile.write(rest)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def toy(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of one file; returns where it will lie."""
    monkeypatch.setenv("LOOKALIKE_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    offer(monkeypatch, SourceFile("toy.bin", (f"{site.url}/toy.bin",), len(CONTENT), SHA256))
    site.files["/toy.bin"] = CONTENT
    return tmp_path / "downloads" / "toy" / "toy.bin"


def offer(monkeypatch: pytest.MonkeyPatch, *files: SourceFile, **changes: object) -> None:
    row = replace(DATA_SETS["mnist"], files=files, **changes)
    monkeypatch.setitem(DATA_SETS, "toy", row)


def kept(arrived: int) -> int:
    """Bytes that a broken transfer keeps: whole pieces."""
    return arrived // download.CHUNK * download.CHUNK


def left_over(toy: Path) -> list[str]:
    return sorted(path.name for path in toy.parent.iterdir() if path.name not in (".lock", "logs"))


def test_a_file_arrives_and_is_recorded(site: Site, toy: Path) -> None:
    seen = []
    assert not fetched.is_fetched("toy")
    assert "1 files, 1.0 MB" in download.fetch("toy", lambda *progress: seen.append(progress))
    assert toy.read_bytes() == CONTENT
    assert seen[-1] == ("toy.bin", len(CONTENT), len(CONTENT))
    record = json.loads((toy.parent / "fetched.json").read_text())["files"]["toy.bin"]
    assert record["sha256"] == SHA256.removeprefix("sha256:")
    assert record["from"] == f"{site.url}/toy.bin"
    assert fetched.is_fetched("toy")
    assert left_over(toy) == ["fetched.json", "toy.bin"]
    assert download.fetch("toy") == "all files are here"
    assert len(site.asked) == 1


def test_a_dropped_connection_goes_on_where_it_was(site: Site, toy: Path) -> None:
    site.drop_after = [300_000, 200_000]
    download.fetch("toy")
    assert toy.read_bytes() == CONTENT
    first, second = kept(300_000), kept(kept(300_000) + 200_000)
    assert [asked for _, asked in site.asked] == [None, f"bytes={first}-", f"bytes={second}-"]


def test_a_killed_download_goes_on_in_another_process(site: Site, toy: Path) -> None:
    site.drop_after = [300_000] + [0] * 5
    with pytest.raises(LookalikeError, match=r"toy.bin of data set toy could not be fetched .*put the file into"):
        download.fetch("toy")
    assert not toy.exists()
    assert not (toy.parent / "fetched.json").exists()
    assert not fetched.is_fetched("toy")
    site.drop_after = []
    before = len(site.asked)
    download.fetch("toy")
    assert site.asked[before][1] == f"bytes={kept(300_000)}-"
    assert toy.read_bytes() == CONTENT


@pytest.mark.parametrize("how", ["another version", "no ranges", "part too long"])
def test_parts_of_two_versions_are_never_joined(site: Site, toy: Path, how: str) -> None:
    site.drop_after = [300_000] + [0] * 5
    with pytest.raises(LookalikeError):
        download.fetch("toy")
    site.drop_after = []
    if how == "another version":
        site.version = '"two"'
    elif how == "no ranges":
        site.ranges = False
    else:
        (toy.parent / ".toy.bin.part").write_bytes(b"x" * (len(CONTENT) + 1))
    download.fetch("toy")
    assert toy.read_bytes() == CONTENT


def test_a_part_that_was_already_whole(site: Site, toy: Path) -> None:
    toy.parent.mkdir(parents=True)
    (toy.parent / ".toy.bin.part").write_bytes(CONTENT)
    (toy.parent / ".toy.bin.json").write_text(json.dumps({"url": f"{site.url}/toy.bin", "version": site.version}))
    download.fetch("toy")
    assert toy.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(site: Site, toy: Path) -> None:
    site.files["/toy.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(LookalikeError, match=r"toy.bin of data set toy.*not the published file \(sha256 differs\)"):
        download.fetch("toy")
    assert left_over(toy) == []


def test_mirrors_are_asked_in_order(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["/wrong.bin"] = b"another file"
    urls = tuple(f"{site.url}/{name}" for name in ("gone.bin", "wrong.bin", "toy.bin"))
    offer(monkeypatch, SourceFile("toy.bin", urls, len(CONTENT), SHA256))
    download.fetch("toy")
    assert [path for path, _ in site.asked] == ["/gone.bin", "/wrong.bin", "/toy.bin"]
    assert toy.read_bytes() == CONTENT


def test_all_mirrors_failing_says_why_each_did(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, SourceFile("toy.bin", (f"{site.url}/a", f"{site.url}/b"), len(CONTENT), SHA256))
    with pytest.raises(LookalikeError, match=r"/a: the server answers 404; .*/b: the server answers 404"):
        download.fetch("toy")


def test_an_unpublished_checksum_is_recorded_at_first(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, SourceFile("toy.bin", (f"{site.url}/toy.bin",)))
    download.fetch("toy")
    toy.write_bytes(CONTENT[:-1] + b"!")
    assert "toy.bin has changed since it was fetched" in fetched.verify("toy")[0]
    toy.write_bytes(CONTENT)
    assert fetched.verify("toy") == []
    toy.unlink()
    assert "toy.bin is missing" in fetched.verify("toy")[0]
    assert not fetched.is_fetched("toy")


def test_several_files_at_once(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"part{number}" for number in range(6)]
    site.files |= {f"/{name}": name.encode() * 1000 for name in names}
    offer(monkeypatch, *(SourceFile(name, (f"{site.url}/{name}",)) for name in names))
    download.fetch("toy")
    assert all((toy.parent / name).read_bytes() == name.encode() * 1000 for name in names)


def test_a_file_put_there_by_hand_is_checked(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, SourceFile("toy.bin", (), len(CONTENT), SHA256), manual="ask the authors")
    needed = r"toy must be fetched by hand: ask the authors. Put toy.bin into .*downloads/toy, then run `lookalike data"
    with pytest.raises(LookalikeError, match=needed):
        download.fetch("toy")
    assert "by hand" in fetched.obstacle("toy")
    toy.write_bytes(b"something else")
    with pytest.raises(LookalikeError, match=r"toy.bin is not the published toy.bin .*sha256 differs"):
        download.fetch("toy")
    toy.write_bytes(CONTENT)
    assert fetched.obstacle("toy") == ""
    download.fetch("toy")
    assert fetched.is_fetched("toy")


def test_terms_are_accepted_once_and_recorded(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SourceFile("toy.bin", (f"{site.url}/toy.bin",), len(CONTENT), SHA256)
    offer(monkeypatch, file, accept=True, licence="research only")
    run = CliRunner()
    refused = run.invoke(app, ["data", "fetch", "toy"])
    assert refused.exit_code == 1
    assert "toy has terms to accept (research only)" in refused.output
    assert "`lookalike data fetch toy --accept-licence`" in refused.output
    assert site.asked == []
    assert run.invoke(app, ["data", "fetch", "toy", "--accept-licence"]).exit_code == 0
    accepted = json.loads((toy.parents[1] / "licences.json").read_text())["toy"]
    assert accepted["terms"].startswith("research only")
    toy.unlink()
    assert run.invoke(app, ["data", "fetch", "toy"]).exit_code == 0
    offer(monkeypatch, file, accept=True, licence="other terms")
    toy.unlink()
    assert run.invoke(app, ["data", "fetch", "toy"]).exit_code == 1


def test_space_is_checked_first(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, SourceFile("toy.bin", (f"{site.url}/toy.bin",), 10**18, SHA256))
    with pytest.raises(LookalikeError, match=r"toy needs 1000000000.0 GB in .*set LOOKALIKE_DOWNLOADS"):
        download.fetch("toy")
    assert site.asked == []


class FullDisk:
    """A file that takes some bytes and no more."""

    def __init__(self, path: str, mode: str) -> None:
        self.handle = open(path, mode)  # noqa: SIM115
        self.handle.write(CONTENT[:1000])

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *error: object) -> None:
        self.handle.close()

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_what_arrived(site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "open", FullDisk, raising=False)
    with pytest.raises(LookalikeError, match=r"the disk is full while toy.bin arrives .*what has arrived is kept"):
        download.fetch("toy")
    monkeypatch.undo()
    assert not toy.exists()
    assert (toy.parent / ".toy.bin.part").exists()


def test_a_system_package_serves_where_its_content_is_the_published_one(
    site: Site, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local.gz"
    local.write_bytes(gzip.compress(b"images", mtime=7))
    content = hashlib.sha256(b"images").hexdigest()
    offer(monkeypatch, SourceFile("toy.gz", (), 6, SHA256, local=str(local), content_sha256=content))
    monkeypatch.setattr(download, "check_by_hand", lambda *arguments: None)
    download.fetch("toy")
    assert (toy.parent / "toy.gz").read_bytes() == local.read_bytes()
    (toy.parent / "fetched.json").unlink()  # as Snakemake does before it fetches again
    download.fetch("toy")
    local.write_bytes(gzip.compress(b"others"))
    (toy.parent / "toy.gz").unlink()
    with pytest.raises(LookalikeError, match=r"local.gz holds another content than the published toy.gz"):
        download.fetch("toy")
    local.write_bytes(b"no gzip")  # another place is asked then
    site.files["/toy.gz"] = CONTENT
    urls = (f"{site.url}/toy.gz",)
    offer(monkeypatch, SourceFile("toy.gz", urls, 6, SHA256, local=str(local), content_sha256=content))
    download.fetch("toy")
    assert (toy.parent / "toy.gz").read_bytes() == CONTENT


def test_verify_by_hand(site: Site, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    assert "nothing was fetched or prepared yet" in run.invoke(app, ["data", "verify"]).output
    download.fetch("toy")
    good = run.invoke(app, ["data", "verify"])
    assert good.exit_code == 0
    assert "toy: all as recorded" in good.output
    toy.write_bytes(b"damaged")
    bad = run.invoke(app, ["data", "verify"])
    assert bad.exit_code == 1
    assert "toy.bin has changed since it was fetched" in bad.output


def test_a_failure_stops_the_others_and_keeps_what_is_whole(
    site: Site, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "AT_ONCE", 1)
    site.files |= {"/first": b"first"}
    gone = SourceFile("gone", (f"{site.url}/gone",))
    offer(monkeypatch, SourceFile("first", (f"{site.url}/first",)), gone)
    with pytest.raises(LookalikeError, match="gone of data set toy could not be fetched"):
        download.fetch("toy")
    assert not (toy.parent / "fetched.json").exists()
    assert not fetched.is_fetched("toy")
    site.files["/gone"] = b"here again"
    before = len(site.asked)
    download.fetch("toy")
    assert [path for path, _ in site.asked[before:]] == ["/gone"]  # the first one is known
    assert left_over(toy) == ["fetched.json", "first", "gone"]


def test_the_list_says_what_is_here_and_how_the_rest_is_got(
    site: Site, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def line(name: str) -> str:
        rows = CliRunner().invoke(app, ["data", "list"]).output.splitlines()
        return next(row for row in rows if row.split()[:1] == [name])

    assert line("toy").split()[1:4] == ["not", "here", "fetch"]
    assert "1,281,167" in line("imagenet")
    assert "by hand" in line("imagenet")
    assert "terms to accept" in line("cub200")
    assert len(CliRunner().invoke(app, ["data", "list"]).output.splitlines()) > len(DATA_SETS)
    site.drop_after = [300_000] + [0] * 5
    with pytest.raises(LookalikeError):
        download.fetch("toy")
    site.drop_after = []
    download.fetch("toy")
    assert line("toy").split()[1] == "fetched"
    toy.unlink()
    assert line("toy").split()[1:3] == ["not", "here"]
