"""Clean ImageNet ids and ReaL labels: the facts that ship, the filters, the score."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_readers import Prepare, prepare, source  # noqa: F401

from lookalike.backbones.small_cnn import SmallCNN
from lookalike.data import filters, resources
from lookalike.data.filters import REMOVE, collect_filters, filter_data, is_greyscale, nearest_exemplars
from lookalike.data.prepared import PreparedData
from lookalike.data.readers import imagenet
from lookalike.data.resources import parse_ids, published_clean_ids, real_labels, wnids
from lookalike.data.settings import PUBLISHED_CLEAN, ImagenetSettings
from lookalike.errors import LookalikeError
from lookalike.evaluation.metrics import real_accuracy, real_correct
from lookalike.tensors import write_tensors


def test_the_facts_that_ship() -> None:
    answers, clean = real_labels(), published_clean_ids()
    assert len(answers) == 50_000
    assert sum(not right for right in answers) == 3_163
    assert sum(bool(right) for right in answers) == 46_837
    assert len(clean) == len(set(clean)) == PUBLISHED_CLEAN == 44_424
    assert sum(len(answers[number - 1]) > 1 for number in clean) == 6_878
    assert all(answers[number - 1] for number in clean)
    assert len(wnids()) == 1000
    assert sorted(wnids()) == wnids()
    assert {label for right in answers for label in right} == set(range(1000))


def test_shipped_files_are_the_published_ones() -> None:
    for name, published in (
        ("imagenet_clean_ids", "e6ba36d12a6f89425876d9e51d4e099939c7bae09fde1fa77ee2606d32bbebba"),
        ("imagenet_real.json", "571f454f8fe788a871fa87f5f3073972be208f1be818f0327258ed89d795f345"),
        ("imagenet_wnids", "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15"),
    ):
        suffix = ".gz" if name.endswith("json") else ".txt.gz"
        assert hashlib.sha256(resources._text(name + suffix).encode()).hexdigest() == published


def test_lists_of_ids_in_both_forms() -> None:
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (43933, 7)]
    assert parse_ids(repr(names)) == parse_ids("\n".join(names)) == parse_ids("43933\n7\n") == [43933, 7]
    with pytest.raises(LookalikeError, match="holds 'n01440764_1'"):
        parse_ids("n01440764_1.JPEG")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4)), min_size=1, max_size=50))
def test_real_score_by_hand(rows: list[tuple[int, list[int]]]) -> None:
    correct = real_correct(np.array([p for p, _ in rows]), [right for _, right in rows])
    known = [(p in right) for p, right in rows if right]
    if known:
        assert real_accuracy(correct) == sum(known) / len(known)
    else:
        assert np.isnan(real_accuracy(correct))
    assert real_accuracy(correct, upstream=True) == sum(known) / len(rows)


def test_real_denominators() -> None:
    answers = real_labels()
    always_first = real_correct(np.array([right[0] if right else 0 for right in answers]), answers)
    assert sum(value is not None for value in always_first) == 46_837
    assert real_accuracy(always_first) == 1
    assert real_accuracy(always_first, upstream=True) == 46_837 / 50_000


def test_greyscale_and_the_originals_looser_test() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    grey = pixels.copy()
    grey[..., 1] = grey[..., 2] = grey[..., 0]
    half = pixels.copy()
    half[..., 1] = half[..., 0]
    assert [is_greyscale(Image.fromarray(p)) for p in (grey, half, pixels)] == [True, False, False]
    assert [is_greyscale(Image.fromarray(p), upstream=True) for p in (grey, half, pixels)] == [True, True, False]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 7), st.integers(0, 99))
def test_duplicates_are_streamed(queries: int, exemplars: int, batch: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    q = torch.nn.functional.normalize(torch.randn(queries, 5, generator=random), dim=1)
    e = torch.nn.functional.normalize(torch.randn(exemplars, 5, generator=random), dim=1)
    ids = np.arange(exemplars) + 1000

    def batches() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for start in range(0, exemplars, batch):
            yield ids[start : start + batch], e[start : start + batch]

    cosine, whose = nearest_exemplars(q, batches())
    whole = q @ e.T
    torch.testing.assert_close(cosine, whole.max(1).values)
    torch.testing.assert_close(whole[torch.arange(queries), whose - 1000], cosine)


@pytest.fixture
def miniature(
    prepare: Prepare,  # noqa: F811
    source: Callable[[str], Path],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> PreparedData:
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
    monkeypatch.setattr(filters, "published_clean_ids", lambda: (1, 4))
    return prepare("imagenet", {"train": 6, "test": 6})


def test_every_filter_leaves_what_it_removed_and_why(
    miniature: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    from lookalike.files import read_json

    torch.manual_seed(0)
    network = SmallCNN((3, 224, 224))
    write_tensors(tmp_path / "weights.safetensors", network.state_dict())
    monkeypatch.setattr(filters, "DUPLICATE", 0.9999)  # a random network finds everything alike
    monkeypatch.setattr(filters, "BLOCK_BYTES", 4 * 64 * 49 * 4)  # several blocks of queries
    weights = {"weights": str(tmp_path / "weights.safetensors"), "backbone": "small_cnn"}
    for name in REMOVE:
        filter_data(miniature.folder, name, **(weights if name == "duplicates" else {}))
    removed = {
        name: pq.ParquetFile(miniature.folder / "filters" / f"{name}.parquet").read().to_pylist() for name in REMOVE
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
    from lookalike.data import prepared

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
