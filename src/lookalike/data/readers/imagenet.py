"""ImageNet (ILSVRC 2012): the three archives, or folders that the user has unpacked already.

Archives: ILSVRC2012_img_train.tar (one tar a class), ILSVRC2012_img_val.tar (50,000 files), the development kit
with data/meta.mat (synsets) and data/ILSVRC2012_validation_ground_truth.txt (ILSVRC2012_ID of each file in order).
Folders: train/<wnid>/ and val/<wnid>/, or val/ with all files and the development kit.
Class index = rank of the WordNet id, as everywhere in PyTorch.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.archives import unpack
from lookalike.data.image_files import class_folders
from lookalike.data.matlab import read_mat
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, images_below, inside
from lookalike.data.resources import image_number, real_labels

CLASSES = 1000
TRAIN, VAL, KIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


def read(inputs: ReaderInput) -> RawData:
    """Read training and validation images; the validation part is the test set and carries its ReaL labels.

    Raises:
        LookalikeError: Something is missing or does not fit together.
    """
    train = _train_folder(inputs)
    wnids = class_folders(train)
    files, labels, _ = images_below(train, wnids)
    kit = _kit(inputs)
    validation, truth = _validation(inputs, wnids, kit)
    names = [file.name for file in validation]
    real = real_labels() if len(wnids) == CLASSES else None  # a part of ImageNet has other class numbers
    return RawData(
        images=files + validation,
        labels=np.array(labels + truth, np.int64),
        splits=np.array(["train"] * len(files) + ["test"] * len(validation)),
        class_names=_class_names(wnids, kit),
        sources=[str(file.relative_to(train)) for file in files] + names,
        answers=None if real is None else [[]] * len(files) + [real[image_number(name) - 1] for name in names],
        facts={"wnids": wnids},
    )


def _train_folder(inputs: ReaderInput) -> Path:
    if (inputs.folder / "train").is_dir():
        return inputs.folder / "train"
    target = inputs.work / "train"
    archives = sorted(inputs.unpacked(TRAIN).glob("*.tar"))
    if not archives and not target.exists():
        raise LookalikeError(f"{inputs.file(TRAIN)} holds no archive of a class such as n01440764.tar.")
    for archive in archives:
        if not (target / archive.stem).exists():
            unpack(archive, target / archive.stem)
        archive.unlink()  # 138 GB twice would not fit most disks
    return target


def _kit(inputs: ReaderInput) -> Path | None:
    """The development kit, where it is there."""
    return inputs.unpacked(KIT) / "ILSVRC2012_devkit_t12" / "data" if (inputs.folder / KIT).exists() else None


def _synsets(kit: Path) -> list[tuple[int, str, str]]:
    """ILSVRC2012_ID, WordNet id and words of every leaf."""
    rows = read_mat(inside(kit, "meta.mat", kit), "synsets")["synsets"].ravel()
    return [
        (int(row["ILSVRC2012_ID"].item()), str(row["WNID"].item()), str(row["words"].item()))
        for row in rows
        if int(row["num_children"].item()) == 0
    ]


def _validation(inputs: ReaderInput, wnids: list[str], kit: Path | None) -> tuple[list[Path], list[int]]:
    """Validation images by number, and their labels."""
    folder_of_user = inputs.folder / "val"
    folder = folder_of_user if folder_of_user.is_dir() else inputs.unpacked(VAL)
    if any(path.is_dir() for path in folder.iterdir()):
        files, labels, _ = images_below(folder, wnids)
        order = sorted(range(len(files)), key=lambda row: image_number(files[row].name))
        return [files[row] for row in order], [labels[row] for row in order]
    if kit is None:
        raise LookalikeError(
            f"{folder} holds validation images without class folders, whose labels are in {inputs.folder / KIT}; "
            "put that file there."
        )
    files = sorted(folder.glob("*.JPEG"))
    truth = inside(kit, "ILSVRC2012_validation_ground_truth.txt", kit)
    numbers = [int(line) for line in truth.read_text().split()]
    if len(numbers) != len(files):
        raise LookalikeError(f"{folder} has {len(files)} images, {truth.name} {len(numbers)} labels; both must agree.")
    label = {number: wnids.index(wnid) for number, wnid, _ in _synsets(kit) if wnid in wnids}
    return files, [label[number] for number in numbers]


def _class_names(wnids: list[str], kit: Path | None) -> list[str]:
    """First word of each class; the WordNet id where there is no kit, and added where two share the word."""
    if kit is None:
        return wnids
    words = {wnid: text.split(",")[0] for _, wnid, text in _synsets(kit)}
    often = Counter(words[wnid] for wnid in wnids)
    return [words[wnid] if often[words[wnid]] == 1 else f"{words[wnid]} ({wnid})" for wnid in wnids]
