"""Miniature archives in the original layout of each data set, made by the tests from their documentation."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

RANDOM = np.random.RandomState(0)
PAIR_POINTS = np.array([[[5, 6], [20, 10], [np.nan, np.nan]], [[8, 9], [np.nan, np.nan], [3, 3]]])
WNIDS = ["n01440764", "n01443537", "n02119789"]


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    """A picture that survives JPEG: one colour a quarter."""
    random = np.random.RandomState(seed)
    quarters = random.randint(0, 256, (2, 2, 3)).astype(np.uint8)
    picture = quarters.repeat(-(-height // 2), 0).repeat(-(-width // 2), 1)
    return picture[:height, :width]


def image_bytes(seed: int, height: int = 20, width: int = 30, form: str = "JPEG", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(height, width, seed)).convert(mode).save(out, form)
    return out.getvalue()


def mat(**variables: object) -> bytes:
    out = io.BytesIO()
    savemat(out, variables)
    return out.getvalue()


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def packed_tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.tobytes())


def make_mnist(folder: Path) -> dict[str, np.ndarray]:
    made = {}
    for part, count in (("train", 12), ("t10k", 5)):
        images = RANDOM.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        put(folder / f"{part}-images-idx3-ubyte.gz", idx(images))
        put(folder / f"{part}-labels-idx1-ubyte.gz", idx(labels))
        made |= {f"{part}.images": images, f"{part}.labels": labels}
    return made


def make_svhn(folder: Path) -> dict[str, np.ndarray]:
    made = {}
    for part, count in (("train", 7), ("test", 4)):
        images = RANDOM.randint(0, 256, (32, 32, 3, count)).astype(np.uint8)
        labels = np.array([10, 1, 2, 10, 9, 5, 3])[:count, None].astype(np.uint8)
        put(folder / f"{part}_32x32.mat", mat(X=images, y=labels))
        made |= {part: images, f"{part}.labels": labels.ravel()}
    return made


def old_pickle(content: dict[bytes, object]) -> bytes:
    """As Python 2 wrote it: byte strings as keys."""
    return pickle.dumps(content, protocol=2)


def make_cifar10(folder: Path, extra: dict[str, bytes] | None = None) -> np.ndarray:
    data = RANDOM.randint(0, 256, (6, 2, 3072)).astype(np.uint8)
    names = [b"airplane", b"automobile", b"bird"]
    files = {"cifar-10-batches-py/batches.meta": old_pickle({b"label_names": names})}
    for number, part in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        batch = {b"data": data[number], b"labels": [number % 3, 1], b"filenames": [b"a.png", b"b.png"]}
        files[f"cifar-10-batches-py/{part}"] = old_pickle(batch)
    tar(folder / "cifar-10-python.tar.gz", files | (extra or {}), "w:gz")
    return data


def make_cifar100(folder: Path) -> np.ndarray:
    data = RANDOM.randint(0, 256, (5, 3072)).astype(np.uint8)
    meta = {b"fine_label_names": [b"apple", b"fish"], b"coarse_label_names": [b"fruit"]}
    files = {"cifar-100-python/meta": old_pickle(meta)}
    for part, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        count = len(data[rows])
        batch = {b"data": data[rows], b"fine_labels": [1, 0, 1][:count], b"coarse_labels": [0] * count}
        files[f"cifar-100-python/{part}"] = old_pickle(batch)
    tar(folder / "cifar-100-python.tar.gz", files, "w:gz")
    return data


def make_cinic10(folder: Path, leave_out: str = "") -> None:
    files = {"README.md": b"CINIC"}
    for seed, (part, name) in enumerate((p, n) for p in ("train", "valid", "test") for n in ("airplane", "bird")):
        for number in range(2):
            mode = "L" if number else "RGB"  # some of its images are grey
            files[f"{part}/{name}/n{number}.png"] = image_bytes(10 * seed + number, 32, 32, "PNG", mode)
    tar(folder / "CINIC-10.tar.gz", {k: v for k, v in files.items() if not leave_out or leave_out not in k}, "w:gz")


def make_cub200(folder: Path) -> None:
    names = ["001.Albatross/a.jpg", "001.Albatross/b.jpg", "002.Auklet/c.jpg", "002.Auklet/d.jpg", "002.Auklet/e.jpg"]
    top = "CUB_200_2011"
    files = {f"{top}/images/{name}": image_bytes(k, 20 + k, 30) for k, name in enumerate(names)}
    lists = {
        "images.txt": [f"{k} {name}" for k, name in enumerate(names, 1)],
        "classes.txt": ["1 001.Albatross", "2 002.Auklet"],
        "image_class_labels.txt": ["1 1", "2 1", "3 2", "4 2", "5 2"],
        "train_test_split.txt": ["1 1", "2 0", "3 1", "4 0", "5 1"],
        "bounding_boxes.txt": [f"{k} {k}.0 2.0 10.0 {10 + k}.5" for k in range(1, 6)],
        "parts/parts.txt": ["1 back", "2 left wing"],
        "parts/part_locs.txt": [f"{k} {p} {k + p}.0 {k}.5 {p % 2}" for k in range(1, 6) for p in (1, 2)],
    }
    files |= {f"{top}/{name}": "\n".join(lines).encode() + b"\n" for name, lines in lists.items()}
    tar(folder / "CUB_200_2011.tgz", files, "w:gz")


def make_stanford_dogs(folder: Path) -> None:
    names = ["n02085620-Chihuahua/a.jpg", "n02085782-Japanese_spaniel/b.jpg", "n02085620-Chihuahua/c.jpg"]
    tar(folder / "images.tar", {f"Images/{name}": image_bytes(k) for k, name in enumerate(names)})

    def listed(rows: list[int], labels: list[int]) -> bytes:
        cells = np.empty((len(rows), 1), object)
        cells[:, 0] = [names[row] for row in rows]
        return mat(file_list=cells, labels=np.array(labels)[:, None])

    tar(
        folder / "lists.tar",
        {"train_list.mat": listed([0, 1], [1, 2]), "test_list.mat": listed([2], [1]), "file_list.mat": b"unused"},
    )


def make_flowers102(folder: Path) -> None:
    tar(folder / "102flowers.tgz", {f"jpg/image_{k:05d}.jpg": image_bytes(k) for k in range(1, 7)}, "w:gz")
    put(folder / "imagelabels.mat", mat(labels=np.array([[2, 1, 1, 2, 1, 2]])))
    put(folder / "setid.mat", mat(trnid=np.array([[4, 2]]), valid=np.array([[1]]), tstid=np.array([[3, 5, 6]])))


def make_fgvc_aircraft(folder: Path) -> None:
    top = "fgvc-aircraft-2013b/data"
    lists = {
        "variants.txt": "707-320\nBoeing 717\n",
        "images_variant_train.txt": "0000001 Boeing 717\n0000002 707-320\n",
        "images_variant_val.txt": "0000003 707-320\n",
        "images_variant_test.txt": "0000004 Boeing 717\n",
    }
    files = {f"{top}/{name}": text.encode() for name, text in lists.items()}
    files |= {f"{top}/images/{k:07d}.jpg": image_bytes(k) for k in range(1, 5)}
    tar(folder / "fgvc-aircraft-2013b.tar.gz", files, "w:gz")


def make_oxford_pets(folder: Path) -> None:
    names = ["Abyssinian_1", "great_pyrenees_2", "Abyssinian_3"]
    files = {f"images/{name}.jpg": image_bytes(k) for k, name in enumerate(names)} | {"images/Abyssinian_1.mat": b"x"}
    tar(folder / "images.tar.gz", files, "w:gz")
    lists = {
        "annotations/trainval.txt": "Abyssinian_1 1 1 1\ngreat_pyrenees_2 2 2 1\n",
        "annotations/test.txt": "Abyssinian_3 1 1 1\n",
    }
    tar(folder / "annotations.tar.gz", {name: text.encode() for name, text in lists.items()}, "w:gz")


def devkit() -> dict[str, bytes]:
    """The development kit: ids 1..3 in another order than the WordNet ids, and an inner node that is no class."""
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    synsets = np.zeros((4, 1), kinds)
    order = [WNIDS[2], WNIDS[0], WNIDS[1], "n00000001"]
    for row, wnid in enumerate(order):
        words = {WNIDS[0]: "tench, Tinca tinca", WNIDS[1]: "goldfish", WNIDS[2]: "kit fox, Vulpes"}.get(wnid, "animal")
        synsets[row, 0] = (row + 1, wnid, words, "", 3 if wnid == "n00000001" else 0)
    top = "ILSVRC2012_devkit_t12/data"
    # validation images 1..4 show the classes with ids 1, 2, 3, 2: WordNet ids 2, 0, 1, 0
    return {
        f"{top}/meta.mat": mat(synsets=synsets),
        f"{top}/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n3\n2\n",
    }


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def make_imagenet(folder: Path) -> None:
    inner = {f"{w}.tar": packed_tar({f"{w}_{k}.JPEG": image_bytes(k) for k in range(2)}) for w in WNIDS}
    tar(folder / "ILSVRC2012_img_train.tar", inner)
    modes = {1: "RGB", 2: "L", 3: "CMYK", 4: "RGB"}
    tar(folder / "ILSVRC2012_img_val.tar", {val_name(k): image_bytes(k, mode=mode) for k, mode in modes.items()})
    tar(folder / "ILSVRC2012_devkit_t12.tar.gz", devkit(), "w:gz")


def make_imagenet_folders(folder: Path) -> None:
    for wnid in WNIDS:
        for number in range(2):
            put(folder / "train" / wnid / f"{wnid}_{number}.JPEG", image_bytes(number))
    for number, label in enumerate((2, 0, 1, 0), 1):
        put(folder / "val" / WNIDS[label] / val_name(number), image_bytes(number))


def make_wnid_folders(folder: Path, archive: str) -> None:
    top = "imagenet-r/" if archive.endswith("r.tar") else ""
    files = {f"{top}README.txt": b"renditions"}
    files |= {f"{top}{wnid}/{kind}_0.jpg": image_bytes(k) for k, wnid in enumerate(WNIDS) for kind in ("art", "toy")}
    (zipped if archive.endswith("zip") else tar)(folder / archive, files)


def make_objectnet(folder: Path) -> None:
    files = {
        f"objectnet-1.0/images/{name}/{k}.png": image_bytes(k, 22, 32, "PNG")
        for k, name in enumerate(("air_freshener", "fish_tank", "ladle"))
    }
    mappings = {
        "folder_to_objectnet_label.json": {
            "air_freshener": "Air freshener",
            "fish_tank": "Fish tank",
            "ladle": "Ladle",
        },
        "objectnet_to_imagenet_1k.json": {"Fish tank": "tench, Tinca tinca; goldfish", "Ladle": "ladle"},
        "pytorch_to_imagenet_2012_id.json": {"0": 1, "1": 0, "618": 2},
    }
    files |= {f"objectnet-1.0/mappings/{name}": json.dumps(content).encode() for name, content in mappings.items()}
    files["objectnet-1.0/mappings/imagenet_to_label_2012_v2"] = b"goldfish\ntench, Tinca tinca\nladle\n"
    zipped(folder / "objectnet-1.0.zip", files)


def make_camelyon17(folder: Path) -> None:
    rows = [  # patient, node, x, y, tumor, slide, center, split
        (4, 4, 3328, 21792, 1, 0, 0, 0),
        (4, 4, 100, 200, 0, 0, 3, 1),
        (17, 1, 5, 6, 1, 3, 1, 0),
        (96, 0, 7, 8, 0, 9, 2, 1),
    ]
    lines = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    lines += [",".join(map(str, (number, *row))) for number, row in enumerate(rows)]
    files = {"camelyon17_v1.0/metadata.csv": "\n".join(lines).encode(), "camelyon17_v1.0/RELEASE_v1.0.txt": b""}
    for k, (patient, node, x, y, *_) in enumerate(rows):
        where = f"patient_{patient:03d}_node_{node}"
        name = f"camelyon17_v1.0/patches/{where}/patch_{where}_x_{x}_y_{y}.png"
        files[name] = image_bytes(k, 96, 96, "PNG", "RGBA")
    tar(folder / "camelyon17_v1.0.tar.gz", files, "w:gz")


def make_fmow(folder: Path) -> None:
    rows = [  # split, category, year; three rows belong to no split
        ("train", "zoo", 2010),
        ("train", "airport", 2014),
        ("val", "zoo", 2012),
        ("val", "airport", 2014),
        ("val", "airport", 2016),
        ("test", "zoo", 2009),
        ("test", "zoo", 2017),
        ("test", "zoo", 2013),
        ("seq", "zoo", 2010),
    ]
    lines = ["split,img_filename,country_code,category,timestamp"]
    lines += [f"{split},x.jpg,USA,{category},{year}-05-01T10:00:00Z" for split, category, year in rows]
    files = {"fmow_v1.1/rgb_metadata.csv": "\n".join(lines).encode()}
    files |= {f"fmow_v1.1/images/rgb_img_{k}.png": image_bytes(k, 24, 24, "PNG") for k in range(len(rows))}
    tar(folder / "fmow_v1.1.tar.gz", files, "w:gz")


def make_pf_pascal(folder: Path) -> None:
    """Pairs with key points; the second point is seen in the first image alone, the third in the second."""
    put(folder / "JPEGImages" / "a.jpg", image_bytes(0, 30, 40))
    put(folder / "JPEGImages" / "b.jpg", image_bytes(0, 50, 20))
    put(folder / "Annotations" / "bicycle" / "a.mat", mat(kps=PAIR_POINTS[0]))
    put(folder / "Annotations" / "bicycle" / "b.mat", mat(kps=PAIR_POINTS[1]))
    row = "PF/JPEGImages/a.jpg,PF/JPEGImages/b.jpg,2.0"
    put(folder / "trn_pairs.csv", f"source_image,target_image,class,flip\n{row},1\n{row},0\n".encode())
    for split in ("val", "test"):
        put(folder / f"{split}_pairs.csv", f"source_image,target_image,class\n{row}\n".encode())
