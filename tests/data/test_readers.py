"""Every original layout is read as documented: labels, splits, boxes, parts, environments; damage is named."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import layouts
from helpers.miniatures import Prepare, Source

from lookalike.core.errors import LookalikeError
from lookalike.data.prepared import PreparedData
from lookalike.data.readers import imagenet
from lookalike.data.registry import DATA_SETS


def shown(data: PreparedData) -> list[tuple[str, str]]:
    """Split and class name of every image, in order."""
    split = np.empty(len(data), object)
    for name in ("train", "validation", "test", "id_validation", "id_test"):
        split[data.is_split(name)] = name
    return [(s, data.class_names[k]) for s, k in zip(split, data.index["label"], strict=True)]


def assert_pictures(data: PreparedData, seeds: list[int], tolerance: float = 12) -> None:
    """The photographs are those the layout was made of, up to JPEG's loss."""
    for row, seed in enumerate(seeds):
        picture = np.asarray(data.photograph(row)).astype(float)
        expected = layouts.pixels(*picture.shape[:2], seed).astype(float)
        assert np.abs(picture - expected).mean() < tolerance, f"row {row}"


def test_mnist(prepare: Prepare, source: Source) -> None:
    arrays = layouts.make_mnist(source("mnist"))
    data = prepare("mnist", {"train": 12, "test": 5})
    np.testing.assert_array_equal(data.images[:, 0], np.concatenate([arrays["train.images"], arrays["t10k.images"]]))
    np.testing.assert_array_equal(data.index["label"], np.concatenate([arrays["train.labels"], arrays["t10k.labels"]]))
    np.testing.assert_array_equal(data.rows("test"), range(12, 17))


def test_svhn_counts_ten_as_zero(prepare: Prepare, source: Source) -> None:
    arrays = layouts.make_svhn(source("svhn"))
    data = prepare("svhn", {"train": 7, "test": 4})
    np.testing.assert_array_equal(data.index["label"], [0, 1, 2, 0, 9, 5, 3, 0, 1, 2, 0])
    for row in range(7):
        np.testing.assert_array_equal(data.images[row].transpose(1, 2, 0), arrays["train"][..., row])


def test_cifar10(prepare: Prepare, source: Source) -> None:
    batches = layouts.make_cifar10(source("cifar10"))
    data = prepare("cifar10", {"train": 10, "test": 2})
    np.testing.assert_array_equal(data.images.reshape(6, 2, 3072), batches)
    assert data.index["label"].tolist() == [0, 1, 1, 1, 2, 1, 0, 1, 1, 1, 2, 1]
    assert data.class_names == ["airplane", "automobile", "bird"]
    assert data.column("source_file")[2] == "data_batch_2/a.png"


def test_cifar100_takes_fine_labels(prepare: Prepare, source: Source) -> None:
    images = layouts.make_cifar100(source("cifar100"))
    data = prepare("cifar100", {"train": 3, "test": 2})
    np.testing.assert_array_equal(data.images.reshape(5, 3072), images)
    assert shown(data) == [("train", k) for k in ("fish", "apple", "fish")] + [("test", "fish"), ("test", "apple")]


class Evil:
    """A pickle that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("what", ["code", "eval", "truncated", "no labels", "list"])
def test_cifar_pickles_run_no_code(prepare: Prepare, source: Source, tmp_path: Path, what: str) -> None:
    trace = tmp_path / "trace"
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    content = {
        "code": pickle.dumps({b"data": Evil(trace), b"labels": [0]}),
        "eval": b"cbuiltins\neval\n(S'1'\ntR.",
        "truncated": pickle.dumps(batch)[:500],
        "no labels": pickle.dumps({b"data": batch[b"data"]}),
        "list": pickle.dumps([1, 2]),
    }[what]
    files = {f"cifar-10-batches-py/{name}": content for name in ["data_batch_1"]}
    layouts.make_cifar10(source("cifar10"))
    names = [f"data_batch_{k}" for k in range(2, 6)] + ["test_batch", "batches.meta"]
    files |= {f"cifar-10-batches-py/{name}": pickle.dumps({b"label_names": [b"a"], **batch}) for name in names}
    layouts.tar(source("cifar10") / "cifar-10-python.tar.gz", files, "w:gz")
    with pytest.raises(LookalikeError, match="data_batch_1"):
        prepare("cifar10", {"train": 10, "test": 2})
    assert not trace.exists()
    assert not (tmp_path / "data/cifar10/manifest.json").exists()


def test_cinic10_in_the_order_of_an_image_folder(prepare: Prepare, source: Source) -> None:
    layouts.make_cinic10(source("cinic10"))
    data = prepare("cinic10", {"train": 4, "validation": 4, "test": 4})
    assert shown(data) == [(s, c) for s in ("train", "validation", "test") for c in ("airplane", "bird") for _ in "12"]
    np.testing.assert_array_equal(data.images[0].transpose(1, 2, 0), layouts.pixels(32, 32, 0))
    assert (data.images[1][0] == data.images[1][2]).all()  # a grey file becomes three equal channels
    trained_on_both = prepare("cinic10", {"train": 4, "validation": 4, "test": 4}, train_on="trainval")
    assert len(trained_on_both.rows("train")) == 8


def test_cinic10_without_a_class(prepare: Prepare, source: Source) -> None:
    layouts.make_cinic10(source("cinic10"), leave_out="valid/bird")
    with pytest.raises(LookalikeError, match="valid lacks the class folder 'bird'"):
        prepare("cinic10", {"train": 4, "validation": 4, "test": 4})


def test_cub200(prepare: Prepare, source: Source) -> None:
    layouts.make_cub200(source("cub200"))
    data = prepare("cub200", {"train": 3, "test": 2})
    assert data.rows("train").tolist() == [0, 2, 4]
    assert data.rows("test").tolist() == [1, 3]
    assert data.index["label"].tolist() == [0, 0, 1, 1, 1]
    assert data.column("box")[1].tolist() == [2, 2, 10, 12.5]
    assert data.manifest["point_names"] == ["back", "left wing"]
    assert data.column("points")[4].tolist() == [6, 5.5, 1, 7, 5.5, 0]
    assert data.photograph(2).size == (30, 22)
    assert_pictures(data, [0, 1, 2, 3, 4])
    swapped = prepare("cub200", {"train": 3, "test": 2}, split="swapped")
    assert swapped.folder == data.folder  # the same files, read otherwise
    assert swapped.rows("train").tolist() == [1, 3]
    assert swapped.hash != data.hash


def test_stanford_dogs(prepare: Prepare, source: Source) -> None:
    layouts.make_stanford_dogs(source("stanford_dogs"))
    data = prepare("stanford_dogs", {"train": 2, "test": 1})
    assert shown(data) == [("train", "Chihuahua"), ("train", "Japanese_spaniel"), ("test", "Chihuahua")]
    assert_pictures(data, [0, 1, 2])


def test_flowers102(prepare: Prepare, source: Source) -> None:
    layouts.make_flowers102(source("flowers102"))
    data = prepare("flowers102", {"train": 2, "validation": 1, "test": 3})
    flowers = [("train", 2), ("train", 1), ("validation", 2), ("test", 1), ("test", 1), ("test", 2)]
    assert shown(data) == [(split, f"flower {number}") for split, number in flowers]
    assert_pictures(data, [4, 2, 1, 3, 5, 6])


def test_fgvc_aircraft(prepare: Prepare, source: Source) -> None:
    layouts.make_fgvc_aircraft(source("fgvc_aircraft"))
    counts = {"train": 2, "validation": 1, "test": 1}
    data = prepare("fgvc_aircraft", counts)
    assert shown(data) == [
        ("train", "Boeing 717"),
        ("train", "707-320"),
        ("validation", "707-320"),
        ("test", "Boeing 717"),
    ]
    assert prepare("fgvc_aircraft", counts, train_on="trainval").rows("train").tolist() == [0, 1, 2]


def test_oxford_pets(prepare: Prepare, source: Source) -> None:
    layouts.make_oxford_pets(source("oxford_pets"))
    data = prepare("oxford_pets", {"train": 2, "test": 1})
    assert shown(data) == [("train", "Abyssinian"), ("train", "great pyrenees"), ("test", "Abyssinian")]
    assert_pictures(data, [0, 1, 2])


def test_aircraft_and_pets_as_torchvision_reads_them(prepare: Prepare, source: Source, tmp_path: Path) -> None:
    from torchvision.datasets import FGVCAircraft, OxfordIIITPet

    from lookalike.data.archives import unpack

    layouts.make_fgvc_aircraft(source("fgvc_aircraft"))
    layouts.make_oxford_pets(source("oxford_pets"))
    unpack(source("fgvc_aircraft") / "fgvc-aircraft-2013b.tar.gz", tmp_path / "aircraft")
    for part in ("images", "annotations"):
        unpack(source("oxford_pets") / f"{part}.tar.gz", tmp_path / part)
        (tmp_path / "pets/oxford-iiit-pet").mkdir(parents=True, exist_ok=True)
        (tmp_path / part / part).rename(tmp_path / "pets/oxford-iiit-pet" / part)
    aircraft = prepare("fgvc_aircraft", {"train": 2, "validation": 1, "test": 1})
    theirs = FGVCAircraft(str(tmp_path / "aircraft"), split="train")
    pets = prepare("oxford_pets", {"train": 2, "test": 1})
    for data, other in ((aircraft, theirs), (pets, OxfordIIITPet(str(tmp_path / "pets"), split="trainval"))):
        for row, (image, label) in zip(data.rows("train"), other, strict=True):
            assert data.index["label"][row] == label
            np.testing.assert_array_equal(np.asarray(data.photograph(row)), np.asarray(image.convert("RGB")))


def test_imagenet_archives(prepare: Prepare, source: Source) -> None:
    layouts.make_imagenet(source("imagenet"))
    data = prepare("imagenet", {"train": 6, "test": 4})
    # the kit's ids 1, 2, 3 are WordNet ids 2, 0, 1; class index = rank of the WordNet id
    assert data.index["label"].tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 1, 0]
    assert data.class_names == ["tench", "goldfish", "kit fox"]
    assert data.manifest["wnids"] == layouts.WNIDS
    assert data.manifest["modes"] == {"RGB": 8, "L": 1, "CMYK": 1}
    assert data.column("source_file")[6] == "ILSVRC2012_val_00000001.JPEG"
    assert all(np.asarray(data.photograph(row)).shape == (20, 30, 3) for row in range(10))


def test_imagenet_folders_of_the_users_own(prepare: Prepare, source: Source) -> None:
    layouts.make_imagenet_folders(source("imagenet"))
    data = prepare("imagenet", {"train": 6, "test": 4})
    assert data.index["label"].tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 1, 0]
    assert data.class_names == layouts.WNIDS
    (source("imagenet") / "val" / layouts.WNIDS[1] / layouts.val_name(3)).unlink()
    with pytest.raises(LookalikeError, match=r"class folder .*val/n01443537 holds no image"):
        prepare("imagenet", {"train": 6, "test": 4})


def test_imagenet_carries_real_labels(prepare: Prepare, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.make_imagenet_folders(source("imagenet"))
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "real_labels", lambda: [[2, 0], [], [1], [0]])
    data = prepare("imagenet", {"train": 6, "test": 4})
    assert [answers.tolist() for answers in data.column("answers")] == [[]] * 6 + [[2, 0], [], [1], [0]]


@pytest.mark.parametrize("name", ["imagenet_r", "imagenet_a", "imagenet_sketch", "damagenet"])
def test_test_sets_in_folders_of_wordnet_ids(prepare: Prepare, source: Source, name: str) -> None:
    layouts.make_wnid_folders(source(name), DATA_SETS[name].files[0].name)
    data = prepare(name, {"test": 6})
    assert shown(data) == [("test", wnid) for wnid in layouts.WNIDS for _ in "12"]
    assert data.manifest["wnids"] == layouts.WNIDS


def test_objectnet_loses_its_border_and_finds_its_classes(prepare: Prepare, source: Source) -> None:
    layouts.make_objectnet(source("objectnet"))
    data = prepare("objectnet", {"test": 3})
    assert shown(data) == [("test", name) for name in ("air_freshener", "fish_tank", "ladle")]
    assert data.photograph(0).size == (30, 20)
    np.testing.assert_array_equal(np.asarray(data.photograph(1)), layouts.pixels(22, 32, 1)[1:-1, 1:-1])
    wnids = {"fish_tank": ["n01440764", "n01443537"], "ladle": ["n03633091"]}
    assert data.manifest["folder_wnids"] == wnids


def test_camelyon17(prepare: Prepare, source: Source) -> None:
    layouts.make_camelyon17(source("camelyon17"))
    data = prepare("camelyon17", {"train": 1, "id_validation": 1, "validation": 1, "test": 1})
    assert shown(data) == [
        ("train", "tumor"),
        ("id_validation", "normal"),
        ("validation", "tumor"),
        ("test", "normal"),
    ]
    assert data.index["environment"].tolist() == [0, 3, 1, 2]
    assert_pictures(data, [0, 1, 2, 3], tolerance=0.1)


def test_fmow(prepare: Prepare, source: Source) -> None:
    layouts.make_fmow(source("fmow"))
    data = prepare("fmow", {"train": 1, "id_validation": 1, "validation": 1, "id_test": 1, "test": 1})
    assert shown(data) == [
        ("train", "zoo"),
        ("id_validation", "zoo"),
        ("validation", "airport"),
        ("id_test", "zoo"),
        ("test", "zoo"),
    ]
    assert data.index["environment"].tolist() == [8, 10, 12, 7, 15]
    assert_pictures(data, [0, 2, 3, 5, 6], tolerance=0.1)


# The user's own images ------------------------------------------------------------------------------


def own_folders(root: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        for number, name in enumerate(("cat", "dog")):
            for k in range(count):
                layouts.put(root / split / name / f"{k}.jpg", layouts.image_bytes(10 * number + k + 100 * (count == 1)))


def test_own_folders_and_the_same_as_csv(prepare: Prepare, tmp_path: Path) -> None:
    own_folders(tmp_path / "mine")
    data = prepare("image_folder", {}, path=str(tmp_path / "mine"), size=16, resize=18)
    assert shown(data) == [("train", c) for c in ("cat", "dog") for _ in "123"] + [("test", "cat"), ("test", "dog")]
    assert data.image_shape == (3, 16, 16)
    lines = ["file,label,split,environment"]
    for row, (split, label) in enumerate(shown(data)):
        lines.append(f"{data.column('source_file')[row]},{label},{split},{row % 2}")
    (tmp_path / "mine" / "list.csv").write_text("\n".join(lines))
    listed = prepare("image_folder", {}, path=str(tmp_path / "mine" / "list.csv"))
    assert shown(listed) == shown(data)
    assert listed.index["environment"].tolist() == [0, 1] * 4
    np.testing.assert_array_equal(listed.column("sha256"), data.column("sha256"))


def spoil_own(root: Path, how: str) -> str:
    """Break the user's images; returns the path of the study."""
    own_folders(root)
    table = root / "list.csv"
    good = "file,label,split\n" + "".join(f"{s}/{c}/0.jpg,{c},{s}\n" for s in ("train", "test") for c in ("cat", "dog"))
    image = root / "train/cat/1.jpg"
    if how == "missing class folder":
        (root / "test/dog/0.jpg").unlink()
        (root / "test/dog").rmdir()
    elif how == "unknown class folder":
        layouts.put(root / "test/horse/0.jpg", b"x")
    elif how == "empty class folder":
        (root / "test/dog/0.jpg").unlink()
    elif how == "no image":
        image.write_bytes(b"no image at all")
    elif how == "truncated image":
        image.write_bytes(image.read_bytes()[:300])
    elif how == "16 bit":
        from PIL import Image

        Image.fromarray(np.zeros((20, 20), np.uint16)).save(root / "train/cat/deep.png")
    elif how == "no test":
        import shutil

        shutil.rmtree(root / "test")
    elif how == "nothing":
        return str(root / "elsewhere")
    else:
        table.write_text(
            {
                "duplicate file": good + "train/cat/0.jpg,cat,train\n",
                "missing file": good + "train/cat/99.jpg,cat,train\n",
                "wrong split": good.replace("test\n", "tset\n"),
                "missing column": good.replace("label", "class", 1),
                "class without test": good + "train/cat/1.jpg,horse,train\n",
                "wrong environment": good.replace("split\n", "split,environment\n", 1).replace("train\n", "train,a\n"),
            }[how]
        )
        return str(table)
    return str(root)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing class folder", r"test lacks the class folder 'dog'"),
        ("unknown class folder", r"test has the class folder 'horse', which train/ lacks"),
        ("empty class folder", r"class folder .*test/dog holds no image"),
        ("no image", r"image .*train/cat/1.jpg is no image; replace or remove it"),
        ("truncated image", r"image .*train/cat/1.jpg cannot be decoded"),
        ("16 bit", r"image .*deep.png has mode I;16, which has no exact 8-bit RGB form"),
        ("no test", r"mine/test is missing; it must hold one folder a class"),
        ("nothing", r"path .*elsewhere is missing; give a folder"),
        ("duplicate file", r"list.csv line 6: file 'train/cat/0.jpg' is listed twice"),
        ("missing file", r"list.csv line 6: file 'train/cat/99.jpg' is missing below"),
        ("wrong split", r"list.csv line 4: split is 'tset'; it must be one of"),
        ("missing column", r"list.csv lacks the column 'label'"),
        ("class without test", r"list.csv has no test image of class 'horse'"),
        ("wrong environment", r"list.csv line 2: environment is 'a'"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(prepare: Prepare, tmp_path: Path, how: str, message: str) -> None:
    path = spoil_own(tmp_path / "mine", how)
    with pytest.raises(LookalikeError, match=message):
        prepare("image_folder", {}, path=path)
    assert not list((tmp_path / "data").glob("*/manifest.json"))


def test_wrong_counts_are_named(prepare: Prepare, source: Source) -> None:
    layouts.make_mnist(source("mnist"))
    with pytest.raises(LookalikeError, match=r"mnist: the source gives {'train': 12, 'test': 5} images, the registry"):
        prepare("mnist", {"train": 60000, "test": 10000})


@pytest.mark.parametrize("name", ["mnist", "svhn", "cifar10", "cub200", "flowers102", "imagenet", "fmow"])
def test_nothing_fetched_says_how(prepare: Prepare, name: str) -> None:
    with pytest.raises(LookalikeError, match=rf"is missing; run `lookalike data fetch {name}`"):
        prepare(name, {"train": 1})


@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_truncated_files_are_named(prepare: Prepare, source: Source, name: str) -> None:
    {"mnist": layouts.make_mnist, "svhn": layouts.make_svhn}[name](source(name))
    path = sorted(source(name).iterdir())[-1]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(LookalikeError, match=rf"{path.name} is truncated or damaged"):
        prepare(name, {"train": 1})


def test_an_archive_put_right_is_read_anew(prepare: Prepare, source: Source) -> None:
    layouts.tar(source("imagenet_a") / "imagenet-a.tar", {"birds/a.jpg": layouts.image_bytes(0)})
    with pytest.raises(LookalikeError, match=r"must hold one set of folders named by WordNet id"):
        prepare("imagenet_a", {"test": 6})
    layouts.make_wnid_folders(source("imagenet_a"), "imagenet-a.tar")
    assert len(prepare("imagenet_a", {"test": 6})) == 6


def test_the_cache_keeps_boxes_on_what_they_frame(
    prepare: Prepare, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lookalike.data import prepare as prepare_module

    monkeypatch.setattr(prepare_module, "CACHED_SIDE", 11)  # images are 20 to 24 high and 30 wide
    layouts.make_cub200(source("cub200"))
    plain = prepare("cub200", {"train": 3, "test": 2})
    cached = prepare("cub200", {"train": 3, "test": 2}, cache=True)
    for row in range(5):
        scale = cached.photograph(row).width / plain.photograph(row).width
        assert scale < 0.6
        np.testing.assert_allclose(cached.column("box")[row], plain.column("box")[row] * scale, rtol=1e-5)
        points = plain.column("points")[row].reshape(-1, 3) * [scale, scale, 1]
        np.testing.assert_allclose(cached.column("points")[row].reshape(-1, 3), points, rtol=1e-5)


def test_what_is_trained_on_is_no_validation_set(prepare: Prepare, source: Source) -> None:
    layouts.make_flowers102(source("flowers102"))
    counts = {"train": 2, "validation": 1, "test": 3}
    assert len(prepare("flowers102", counts).rows("validation")) == 1
    both = prepare("flowers102", counts, train_on="trainval")
    assert both.rows("train").tolist() == [0, 1, 2]
    assert len(both.rows("validation")) == 0


def test_tables_as_spreadsheets_write_them(prepare: Prepare, tmp_path: Path) -> None:
    own_folders(tmp_path / "mine")
    rows = "".join(f"{s}/{c}/0.jpg,{c},{s}\r\n" for s in ("train", "test") for c in ("cat", "dog"))
    table = tmp_path / "mine" / "list.csv"
    table.write_bytes(b"\xef\xbb\xbf" + f"file,label,split\r\n{rows}".encode())
    assert len(prepare("image_folder", {}, path=str(table))) == 4
    table.write_text(f"file,label,split\n{rows}train/cat/1.jpg\n")
    with pytest.raises(LookalikeError, match=r"list.csv line 6: a column is empty"):
        prepare("image_folder", {}, path=str(table), cache=True)
