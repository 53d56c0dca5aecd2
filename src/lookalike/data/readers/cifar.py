"""CIFAR-10 and CIFAR-100, "python version": pickles of a dictionary, read without running any code of theirs."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside

# What a pickled byte array of numpy names; everything else is refused.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}
PARTS = {
    "cifar10": (
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        {"train": [f"data_batch_{part}" for part in range(1, 6)], "test": ["test_batch"]},
        "batches.meta",
        (b"labels", b"label_names"),
    ),
    "cifar100": (
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        {"train": ["train"], "test": ["test"]},
        "meta",
        (b"fine_labels", b"fine_label_names"),
    ),
}


def read(inputs: ReaderInput) -> RawData:
    """Read all batches in order.

    Raises:
        LookalikeError: The archive or a batch is missing, damaged or holds more than plain data.
    """
    archive, name, parts, meta, (labels_key, names_key) = PARTS[inputs.name]
    root = inputs.unpacked(archive)
    folder = root / name
    images, labels, splits, sources = [], [], [], []
    for split, files in parts.items():
        for file in files:
            batch = load_plain(inside(folder, file, root))
            pixels, classes = _entry(batch, b"data", file), _entry(batch, labels_key, file)
            if pixels.dtype != np.uint8 or pixels.shape != (len(classes), 3 * 32 * 32):
                raise LookalikeError(f"{folder / file} holds no 32 x 32 colour images; fetch the source again.")
            images.append(pixels.reshape(-1, 3, 32, 32))
            labels += list(classes)
            splits += [split] * len(classes)
            names = batch.get(b"filenames") or [file.encode()] * len(classes)
            sources += [f"{file}/{image.decode()}" for image in names]
    class_names = _entry(load_plain(inside(folder, meta, root)), names_key, meta)
    return RawData(
        images=np.concatenate(images),
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=[str(class_name, "ascii") for class_name in class_names],
        sources=sources,
    )


class PlainUnpickler(pickle.Unpickler):
    """Builds dictionaries, lists, numbers, bytes and numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name that is not an array's."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def load_plain(path: Path) -> dict[bytes, Any]:
    """The dictionary of a pickle that holds plain data only.

    Raises:
        LookalikeError: The file is damaged or names anything but arrays.
    """
    try:
        content = PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise LookalikeError(f"{path} is no batch of plain data ({error}); delete it and fetch it again.") from None
    if not isinstance(content, dict):
        raise LookalikeError(f"{path} holds a {type(content).__name__}, no batch; delete it and fetch it again.")
    return content


def _entry(content: dict[bytes, Any], key: bytes, file: str) -> Any:
    if key not in content:
        raise LookalikeError(f"CIFAR file {file} lacks the entry {key.decode()!r}; delete it and fetch it again.")
    return content[key]
