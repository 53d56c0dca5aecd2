"""The clean test images of ImageNet: every filter says what it removed and why, and what is left is what is asked."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from helpers import layouts
from helpers.miniatures import Prepare, Source

from lookalike.backbones.small_cnn import SmallCNN
from lookalike.core.errors import LookalikeError
from lookalike.core.files import read_json
from lookalike.core.tensors import write_tensors
from lookalike.data import filters, prepared
from lookalike.data.prepared import PreparedData
from lookalike.data.readers import imagenet
from lookalike.data.settings import FILTERS, ImagenetSettings
from lookalike.stages import filter_data as stage
from lookalike.stages.filter_data import collect_filters, filter_data


@pytest.fixture
def miniature(prepare: Prepare, source: Source, monkeypatch: pytest.MonkeyPatch) -> PreparedData:
    """Three classes, six validation images: fine, unlabelled, copy of a training image, grey, small, fine."""
    folder = source("imagenet")
    for label, wnid in enumerate(layouts.WNIDS):
        for number in range(2):
            content = layouts.image_bytes(50 + 2 * label + number, 300, 260)
            layouts.put(folder / "train" / wnid / f"{wnid}_{number}.JPEG", content)
    validation = [
        layouts.image_bytes(1, 300, 260),
        layouts.image_bytes(2, 300, 260),
        layouts.image_bytes(50, 300, 260),
        layouts.image_bytes(4, 300, 260, mode="L"),
        layouts.image_bytes(5, 223, 400),
        layouts.image_bytes(6, 224, 224),
    ]
    for number, content in enumerate(validation, 1):
        layouts.put(folder / "val" / layouts.WNIDS[number % 3] / layouts.val_name(number), content)
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "real_labels", lambda: [[1], [], [0], [1, 2], [2], [0]])
    monkeypatch.setattr(stage, "published_clean_ids", lambda: (1, 4))
    return prepare("imagenet", {"train": 6, "test": 6})


def test_every_filter_leaves_what_it_removed_and_why(
    miniature: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = SmallCNN((3, 224, 224))
    write_tensors(tmp_path / "weights.safetensors", network.state_dict())
    monkeypatch.setattr(filters, "DUPLICATE", 0.9999)  # a random network finds everything alike
    monkeypatch.setattr(filters, "BLOCK_BYTES", 4 * 64 * 49 * 4)  # several blocks of queries
    weights = {"weights": str(tmp_path / "weights.safetensors"), "backbone": "small_cnn"}
    for name in FILTERS:
        filter_data(miniature.folder, name, **(weights if name == "duplicates" else {}))
    removed = {
        name: pq.ParquetFile(miniature.folder / "filters" / f"{name}.parquet").read().to_pylist() for name in FILTERS
    }
    assert [row["reason"] for row in removed["unlabelled"]] == ["no ReaL label"]
    assert [row["source_file"] for row in removed["unlabelled"]] == [layouts.val_name(2)]
    assert [row["source_file"] for row in removed["greyscale"]] == [layouts.val_name(4)]
    assert [(row["source_file"], row["reason"]) for row in removed["small"]] == [
        (layouts.val_name(5), "400 x 223 pixels")
    ]
    assert layouts.val_name(3) in [row["source_file"] for row in removed["duplicates"]]
    copy = next(row for row in removed["duplicates"] if row["source_file"] == layouts.val_name(3))
    assert copy["reason"] == "cosine 1.0000 with training image 0"
    collect_filters(miniature.folder)
    joined = read_json(miniature.folder / "filters" / "clean.json")
    gone = {row["source_file"] for rows in removed.values() for row in rows}
    assert joined["ids"] == [n for n in range(1, 7) if layouts.val_name(n) not in gone]
    assert joined["removed"] == {name: len(rows) for name, rows in removed.items()}
    assert set(joined["missing"]) == {1, 4} - set(joined["ids"])
    assert set(joined["extra"]) == set(joined["ids"]) - {1, 4}
    settings = ImagenetSettings(source="imagenet", queries="clean", duplicate_weights="w.pth")
    clean = PreparedData(miniature.folder, settings)
    assert len(clean.rows("test")) == joined["clean"]
    assert len(clean.rows("train")) == 6


def test_the_published_list_chooses_the_queries(miniature: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "published_clean_ids", lambda: (5, 1))
    data = PreparedData(miniature.folder, ImagenetSettings(source="imagenet", queries="published_clean"))
    assert [str(data.column("source_file")[row]) for row in data.rows("test")] == [
        layouts.val_name(1),
        layouts.val_name(5),
    ]


def test_filters_that_have_not_run_are_named(miniature: PreparedData) -> None:
    settings = ImagenetSettings(source="imagenet", queries="clean", duplicate_weights="w.pth")
    with pytest.raises(LookalikeError, match=r"clean.json is missing"):
        PreparedData(miniature.folder, settings).rows("test")
