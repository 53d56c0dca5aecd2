"""Numbers are finite or refused: where features enter, before scores rank, in every head."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lookalike import BaselineMemory, GaussianPrototypes, MatchingHead, MemoryWrapLayer, NWHead, PrototypicalHead
from lookalike.contracts.classifier import Prediction
from lookalike.core.credentials import without_credentials
from lookalike.core.errors import LookalikeError
from lookalike.core.finite import NotFiniteError, check_finite
from lookalike.distances.centroids import class_centroids
from lookalike.distances.neighbours import build_hnsw, nearest, search_hnsw
from lookalike.distances.pairwise import cosine_distance, normalise_rows
from lookalike.metrics import auroc, fpr95, temperature
from lookalike.rerank import CHMNet, chm_similarity, emd_similarity

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
KERNELS = ("euclidean", "hypersphere_euclidean", "cosine", "dot", "clip")
HEADS = {
    **{f"nw {kernel}": lambda q, s, kernel=kernel: NWHead(3, kernel)(q, s, LABELS) for kernel in KERNELS},
    **{
        f"{kind.__name__} {by}": lambda q, s, kind=kind, by=by: kind(4, 3, distance=by)(q, s)
        for kind in (MemoryWrapLayer, BaselineMemory)
        for by in ("cosine", "l2", "dot")
    },
    "prototypical": lambda q, s: PrototypicalHead(3)(q, s, LABELS),
    "matching": lambda q, s: MatchingHead(4, 3)(q, s, LABELS),
    "prototypes": lambda q, s: GaussianPrototypes(3, 2, (4, 1, 1))(q.view(-1, 4, 1, 1)),
    "nearest": lambda q, s: nearest(q, s, 2, "l2")[1].float(),
}


def rows(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Two queries, the second of one number alone."""
    queries = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    queries[1] = value
    return queries.to(dtype)


def support(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e20, 0.0, -0.0])
def test_a_head_gives_numbers_or_refuses(name: str, value: float) -> None:
    """What is not a number is refused with the row's place; the other query is not touched by its neighbour."""
    try:
        answers = HEADS[name](rows(value), support())
    except NotFiniteError as error:
        assert not abs(value) < 1e20
        assert "are not finite in" in str(error)  # noqa: PT017
        return
    assert np.isfinite(value)
    assert bool(torch.isfinite(answers).all())


@pytest.mark.parametrize("name", [name for name in HEADS if name.startswith(("nw", "Memory", "Baseline", "nearest"))])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_support_that_holds_no_numbers_is_refused(name: str, value: float) -> None:
    broken = support()
    broken[3, 1] = value
    with pytest.raises(NotFiniteError, match=r"first in row 3;"):
        HEADS[name](rows(1.0), broken)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(kernel: str, dtype: torch.dtype) -> None:
    """Squares of 300 overflow in float16, those of their differences do not in float32."""
    queries, memory = rows(300.0, dtype), support(dtype) * 100
    answers = NWHead(3, kernel)(queries, memory, LABELS)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, NWHead(3, kernel)(queries.float(), memory.float(), LABELS))


def test_features_of_1e20_have_their_own_neighbours() -> None:
    """Their products overflow in float32; the order is that of float64."""
    generator = torch.Generator().manual_seed(0)
    queries, memory = torch.randn(5, 8, generator=generator) * 1e20, torch.randn(40, 8, generator=generator) * 1e20
    wide = queries.double(), memory.double()
    wide = queries.double(), memory.double()
    for distance, dull in (("dot", -(wide[0] @ wide[1].T)), ("l2", torch.cdist(*wide))):
        rows_of = nearest(queries, memory, 3, distance, block=7)[1]  # type: ignore[arg-type]
        assert torch.equal(rows_of, dull.argsort(1)[:, :3])
    unit = normalise_rows(queries)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(5))
    cosines = 1 - torch.nn.functional.cosine_similarity(queries[:, None].double(), memory.double(), dim=-1)
    torch.testing.assert_close(cosine_distance(queries, memory).double(), cosines, atol=2e-6, rtol=0)


def test_no_search_answers_for_what_is_no_number() -> None:
    index, broken = build_hnsw(support(), "l2"), rows(float("nan"))
    for search in (lambda: search_hnsw(index, broken, 2), lambda: nearest(broken, support(), 2, "dot")):
        with pytest.raises(NotFiniteError, match="first in query 1"):
            search()
    with pytest.raises(NotFiniteError, match="features of the support"):
        class_centroids(torch.full((6, 4), float("nan")), LABELS, 2)


def test_maps_of_patches_that_hold_no_numbers_are_refused() -> None:
    maps = torch.rand(3, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    maps[2, 0, 1, 1] = float("nan")
    for similarity in (emd_similarity, lambda q, e: chm_similarity(q, e, CHMNet("psi", inputs=8, channels=4))):
        with pytest.raises(NotFiniteError, match=r"features of the exemplars .* first in exemplar 1"):
            similarity(maps[0], maps[1:])


def test_predictions_of_any_tensor() -> None:
    """With a gradient, in half precision; the lowest class wins a tie."""
    log_probs = torch.tensor([[-1.0, -0.5], [-0.5, -0.5]], requires_grad=True)
    assert Prediction(log_probs).predicted().tolist() == [1, 0]
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert Prediction(log_probs.detach().to(dtype)).predicted().tolist() == [1, 0]


def test_metrics_of_what_is_no_number_are_none() -> None:
    some, broken = np.array([0.1, 0.5, 0.9]), np.array([0.2, np.nan])
    for metric in (auroc, fpr95):
        assert np.isnan(metric(some, broken))
        assert np.isnan(metric(broken, some))
    assert np.isnan(temperature(np.full((2, 3), np.nan), np.array([0, 1])))
    assert np.isnan(temperature(np.zeros((0, 3)), np.zeros(0, np.int64)))


def test_the_message_names_the_first_row_and_what_to_do() -> None:
    values = torch.zeros(5, 2, 3)
    check_finite(values, "features")
    values[3, 1, 2] = torch.inf
    values[4] = torch.nan
    with pytest.raises(LookalikeError, match=r"^features are not finite in 2 of 5 rows, first in row 3; mend it\.$"):
        check_finite(values, "features", remedy="mend it")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg2://me:se%40cret@host:5432/db refused", "postgresql+psycopg2://host:5432/db refused"),
        ("see http://a:b@c/d and https://token@e/f", "see http://c/d and https://e/f"),
        ("mail me@home, http://host/a@b", "mail me@home, http://host/a@b"),
    ],
)
def test_no_password_is_written_down(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
