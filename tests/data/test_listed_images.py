"""A user's own images: what is read is what is watched, and nothing is left out without a word."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import layouts
from PIL import Image

from lookalike.core.errors import LookalikeError
from lookalike.data.own_images import hash_of_images, list_images
from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import PreparedData
from lookalike.data.settings import ImageFolderSettings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of images are kept below the working directory."""
    monkeypatch.chdir(tmp_path)


def picture(seed: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (12, 10, 3)).astype(np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for number, (split, name) in enumerate((s, n) for s in ("train", "test") for n in ("cat", "dog")):
        for k in range(2):
            layouts.put(tmp_path / "mine" / split / name / f"{k}.png", picture(10 * number + k))
    return tmp_path / "mine"


def table(folder: Path, text: str) -> Path:
    layouts.put(folder / "list.csv", text.encode())
    return folder / "list.csv"


def test_bytes_decide_and_times_do_not(mine: Path, tmp_path: Path) -> None:
    before = hash_of_images(mine)
    shutil.copytree(mine, tmp_path / "copy", copy_function=shutil.copyfile)
    assert hash_of_images(tmp_path / "copy") == before
    os.utime(mine / "train/cat/0.png", (1, 1))
    assert hash_of_images(mine) == before
    (mine / "train/cat/0.png").write_bytes(picture(99))
    assert hash_of_images(mine) != before


@pytest.mark.parametrize("linked", ["class", "split", "picture"])
def test_what_links_lead_to_is_read_and_watched(mine: Path, tmp_path: Path, linked: str) -> None:
    place = mine / {"class": "train/cat", "split": "train", "picture": "train/cat/0.png"}[linked]
    shutil.move(place, tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    listed = list_images(mine)
    assert len(listed.files) == 8
    before = hash_of_images(mine)
    (mine / "train/cat/0.png").write_bytes(picture(99))
    assert hash_of_images(mine) != before


def test_a_table_is_watched_whatever_its_columns_and_quotes(mine: Path) -> None:
    layouts.put(mine / "train/cat/a, b.png", picture(50))
    lines = [
        "label,split,file",
        'cat,train,"train/cat/a, b.png"',
        "cat,test,test/cat/0.png",
        "dog,train,train/dog/0.png",
    ]
    path = table(mine, "\n".join([*lines, "dog,test,test/dog/0.png"]))
    before = hash_of_images(path)
    assert len(list_images(path).files) == 4
    (mine / "train/cat/a, b.png").write_bytes(picture(51))
    assert hash_of_images(path) != before


def test_a_linked_folder_inside_a_class_belongs_to_it(mine: Path, tmp_path: Path) -> None:
    for k in range(3):
        layouts.put(tmp_path / "more" / f"{k}.png", picture(60 + k))
    (mine / "train/cat/more").symlink_to(tmp_path / "more")
    assert sum("more" in source for source in list_images(mine).sources) == 3


@pytest.mark.parametrize("place", ["train/cat/gone.png", "train/gone", "train/cat/gone"])
def test_a_link_that_leads_nowhere_is_refused_by_name(mine: Path, place: str) -> None:
    (mine / place).symlink_to(mine / "nowhere")
    with pytest.raises(LookalikeError, match=rf"{place} is a link that leads nowhere; mend it or take it out"):
        list_images(mine)


def test_a_link_in_a_circle_and_a_pipe_are_refused(mine: Path) -> None:
    (mine / "train/cat/again").symlink_to(mine / "train/cat")
    with pytest.raises(LookalikeError, match="is a link to a folder that it lies in"):
        list_images(mine)
    (mine / "train/cat/again").unlink()
    os.mkfifo(mine / "train/cat/pipe.png")
    with pytest.raises(LookalikeError, match=r"pipe.png is no regular file"):
        list_images(mine)


def test_what_programs_leave_behind_is_no_training_image(mine: Path, tmp_path: Path) -> None:
    hidden = (".ipynb_checkpoints", "@eaDir", ".Trash-1000", "__MACOSX")
    for folder in hidden:
        layouts.put(mine / "train/cat" / folder / "0.png", picture(70))
        layouts.put(mine / "train" / folder / "0.png", picture(70))
    layouts.put(mine / "train/dog/._0.png", b"\0\5\26\7")
    layouts.put(mine / "train/dog/notes.txt", b"a note")
    listed = list_images(mine)
    assert len(listed.files) == 8
    assert len(listed.left_out) == 2 * len(hidden) + 2
    settings = ImageFolderSettings(source="image_folder", path=str(mine), size=8)
    summary = prepare_data(settings, tmp_path / "prepared")
    assert "; left out, since they are no images or hidden: 10, " in summary


def test_no_class_goes_without_a_word(mine: Path) -> None:
    for split in ("train", "test"):
        layouts.put(mine / split / "__background__/0.png", picture(80))
    assert "__background__" in list_images(mine).class_names
    layouts.put(mine / "train/.net/0.png", picture(81))
    with pytest.raises(LookalikeError, match=r"class folder .*\.net is hidden by the dot in its name"):
        list_images(mine)


def test_what_pillow_reads_is_read_whatever_it_is_called(mine: Path) -> None:
    kinds = {"a.jfif": "JPEG", "a.jpe": "JPEG", "a.jp2": "JPEG2000", "plain": "PNG", "a.dat": "WEBP"}
    for name, kind in kinds.items():
        layouts.put(mine / "train/cat" / name, picture(90, kind))
    listed = list_images(mine)
    assert {Path(source).name for source in listed.sources} >= set(kinds)
    assert listed.left_out == []


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_a_channel_are_not_cut_off(mine: Path, tmp_path: Path, kind: str) -> None:
    path = mine / f"train/cat/deep.{kind}"
    if kind == "png":  # Pillow writes none: bit depth, and the rest of the header, by hand
        import struct
        import zlib

        def chunk(name: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

        head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
        rows = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(2)))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    else:
        Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)
    with pytest.raises(LookalikeError, match=rf"deep.{kind} has (16 bits a channel|mode I;16)"):
        prepare_data(ImageFolderSettings(source="image_folder", path=str(mine), size=8), tmp_path / "prepared")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label,split\n0.png,a,train\n./0.png,a,test", r"line 3: file './0.png' is listed twice, in line 2 too"),
        ("file,label,split", "holds a heading alone"),
        ('file,label,split\n"0.png,a,train\n', "is no CSV"),
        ("file,label,split,environment\n0.png,a,train," + "1" * 20, "write a whole number of at most 9 digits"),
        ("file,label,split\n0.png,,train", "line 2: a column is empty"),
        ("file;label;split\n0.png;a;train", "lacks the column 'file'"),
    ],
)
def test_tables_that_are_wrong_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    layouts.put(tmp_path / "0.png", picture(0))
    with pytest.raises(LookalikeError, match=message):
        list_images(table(tmp_path, text))


@pytest.mark.parametrize(
    "content", ["Datei,caf\u00e9".encode("cp1252"), "file,label".encode("utf-16"), b"PK\3\4\xff\xfe"]
)
def test_a_table_that_is_no_utf8_says_how_to_save_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(LookalikeError, match=r'is no text in UTF-8 .*; save it as "CSV UTF-8"|lacks the column'):
        list_images(tmp_path / "list.csv")


def test_a_picture_of_training_in_the_test_set_is_said(mine: Path, tmp_path: Path) -> None:
    shutil.copy(mine / "train/cat/0.png", mine / "test/cat/copy.png")
    settings = ImageFolderSettings(source="image_folder", path=str(mine), size=8)
    assert "; test images that are byte for byte training images too: 1" in prepare_data(
        settings, tmp_path / "prepared"
    )
    assert PreparedData(tmp_path / "prepared", settings).manifest["test_images_in_training"] == 1
