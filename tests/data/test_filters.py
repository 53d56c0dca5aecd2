"""Clean ImageNet ids and ReaL labels: the facts that ship, what the filters look at, the score."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike.core.errors import LookalikeError
from lookalike.data import resources
from lookalike.data.filters import is_greyscale, nearest_exemplars
from lookalike.data.resources import parse_ids, published_clean_ids, real_labels, wnids
from lookalike.data.settings import PUBLISHED_CLEAN
from lookalike.metrics.real_labels import real_accuracy, real_accuracy_upstream, real_correct


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
    labelled = [(p in right) for p, right in rows if right]
    if labelled:
        assert real_accuracy(correct) == sum(labelled) / len(labelled)
    else:
        assert np.isnan(real_accuracy(correct))
    assert real_accuracy_upstream(correct) == sum(labelled) / len(rows)


def test_real_denominators() -> None:
    answers = real_labels()
    always_first = real_correct(np.array([right[0] if right else 0 for right in answers]), answers)
    assert sum(value is not None for value in always_first) == 46_837
    assert real_accuracy(always_first) == 1
    assert real_accuracy_upstream(always_first) == 46_837 / 50_000


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
