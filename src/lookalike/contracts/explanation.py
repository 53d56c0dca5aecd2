"""The Explanation record: one form for all methods, stored as parquet, drawn by one room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from lookalike.contracts.classifier import Prediction
    from lookalike.contracts.features import Features

SHOWN_EXEMPLARS, SHOWN_PAIRS = 5, 5
# The text is the number's type in the parquet file; others are int64 and float64.
Map = Annotated[list[list[float]], "float32"]
Picture = Annotated[list[list[list[int]]], "uint8"]


@dataclass(frozen=True)
class PatchPair:
    """A patch of the query and the patch of an exemplar that belongs to it.

    Attributes:
        query: Number of the query's patch, row by row.
        exemplar: Number of the exemplar's patch, row by row.
        weight: How much the pair counts.
        colour: Number of the colour it is drawn in.
    """

    query: int
    exemplar: int
    weight: float
    colour: int


@dataclass(frozen=True)
class Exemplar:
    """A training image that takes part in a decision.

    Attributes:
        id: Image id in the data set's index.
        label: Class of the image.
        weight: Share of the decision, 0 to 1.
        influence: How much the query's loss grows when the image is taken away, in nats; None where unknown.
        predicted: Class that the model gives to the image; None where unknown.
        attribution: (H, W) what its pixels add to the logit of the query's class; None where unknown.
        similarity: Number by which it was ranked; None where weights say it.
        target: (R,) patch of this image that each query patch goes to, patches row by row; None where none are
            matched.
        target_weight: (R,) how much each of these pairs counts.
        correlation: (2, R) of each query patch with this image, and of each patch of it with the query.
    """

    id: int
    label: int
    weight: float
    influence: float | None = None
    predicted: int | None = None
    attribution: Map | None = None
    similarity: float | None = None
    target: list[int] | None = None
    target_weight: list[float] | None = None
    correlation: Map | None = None

    def strongest_pairs(self, count: int = SHOWN_PAIRS) -> list[PatchPair]:
        """The patch pairs that count most, the weakest first; of equal ones the lower query patch is stronger.

        Pairs that end in the same patch of this image have the weakest one's number, that of a colour.
        """
        if self.target is None or self.target_weight is None:
            return []
        weight = self.target_weight
        order = sorted(range(len(weight)), key=lambda patch: -weight[patch])[:count][::-1]
        ends = [self.target[patch] for patch in order]
        return [PatchPair(patch, end, weight[patch], ends.index(end)) for patch, end in zip(order, ends, strict=True)]


@dataclass(frozen=True)
class PrototypeMatch:
    """A prototype, a distribution over images, that a query looks like.

    Attributes:
        label: Class of the prototype.
        component: Number of the prototype in its class.
        weight: Share of the decision, 0 to 1: probability of the class times the responsibility.
        responsibility: Share of the query among the prototypes of its class, 0 to 1.
        log_density: Log-density of query and prototype, nats.
        picture: (H, W, C) levels 0 to 255: the prototype's most typical image.
        nearest: Ids of the training images whose density under it is highest.
    """

    label: int
    component: int
    weight: float
    responsibility: float
    log_density: float
    picture: Picture
    nearest: list[int]


@dataclass(frozen=True)
class Explanation:
    """Why a query got its class.

    Attributes:
        query: Image id of the query.
        label: True class.
        predicted: Class that was given.
        confidence: Probability of that class.
        mode: Inference mode that decided.
        probabilities: Probability of each class.
        exemplars: Training images that took part, the heaviest first.
        attribution: (H, W) what the query's pixels add to the logit of its class; None where unknown.
        completeness_error: Share of the logit's change that all attributions together miss.
        grid: Rows and columns of patches; None where none are matched.
        nearest: Exemplars that stood in their place before re-ranking, of the class these voted for.
        prototypes: Prototypes that the query looks most like, the heaviest first.

    Example:
        >>> from lookalike.contracts.explanation import Exemplar
        >>> from lookalike.explain import Explanation
        >>> why = Explanation(query=7, label=1, predicted=1, confidence=0.9, mode="full", probabilities=[0.1, 0.9],
        ...                   exemplars=[Exemplar(id=3, label=1, weight=0.8), Exemplar(id=5, label=0, weight=0.2)])
        >>> [exemplar.id for exemplar in why.shown]
        [3]
    """

    query: int
    label: int
    predicted: int
    confidence: float
    mode: str
    probabilities: list[float]
    exemplars: list[Exemplar] = field(default_factory=list)
    attribution: Map | None = None
    completeness_error: float | None = None
    grid: list[int] | None = None
    nearest: list[Exemplar] = field(default_factory=list)
    prototypes: list[PrototypeMatch] = field(default_factory=list)

    @property
    def shown(self) -> list[Exemplar]:
        """The heaviest exemplars of the class given: those that an explanation by patches shows."""
        return [e for e in self.exemplars if e.label == self.predicted][:SHOWN_EXEMPLARS]

    @property
    def example(self) -> Exemplar | None:
        """The heaviest exemplar that gets the query's class (explanation by example)."""
        return next((e for e in self.exemplars if e.predicted == self.predicted), None)

    @property
    def counterfactual(self) -> Exemplar | None:
        """The heaviest exemplar that gets another class."""
        return next((e for e in self.exemplars if e.predicted not in (None, self.predicted)), None)


def build_explanations(
    queries: Features,
    prediction: Prediction,
    mode: str,
    ids: Tensor,
    labels: Tensor,
    weights: Tensor,
    influence: Tensor | None = None,
    predicted: Tensor | None = None,
    similarity: Tensor | None = None,
) -> list[Explanation]:
    """Records of a batch from exemplar ids, labels, weights and what else is known of exemplars, each (B, k)."""
    from lookalike.core.finite import check_finite  # needs torch, which those who only look at a study do without

    check_finite(weights, "weights of exemplars", lambda row: f"image {int(queries.ids[row])}")
    probabilities = prediction.log_probs.detach().double().exp().cpu()
    classes = prediction.predicted()
    records = []
    for row in range(len(queries)):
        given = {
            "id": ids,
            "label": labels,
            "weight": weights,
            "influence": influence,
            "predicted": predicted,
            "similarity": similarity,
        }
        columns = {name: values[row].tolist() for name, values in given.items() if values is not None}
        by_id = {  # each image once
            values[0]: Exemplar(**dict(zip(columns, values, strict=True)))
            for values in zip(*columns.values(), strict=True)
        }
        shown = sorted(by_id.values(), key=lambda exemplar: -exemplar.weight)
        records.append(
            Explanation(
                query=int(queries.ids[row]),
                label=int(queries.labels[row]),
                predicted=int(classes[row]),
                confidence=float(probabilities[row, classes[row]]),
                mode=mode,
                probabilities=probabilities[row].tolist(),
                exemplars=shown,
            )
        )
    return records


def write_explanations(path: Path, records: list[Explanation], origin: Mapping[str, str] | None = None) -> None:
    """Write the records as parquet.

    Args:
        path: File to write.
        records: The records.
        origin: What they follow from, such as `Evaluation.origin`; noted in the file.

    Raises:
        LookalikeError: The disk is full or not writable; an older file is unchanged.
    """
    import pyarrow as pa

    from lookalike.core.tables import write_table

    write_table(path, pa.Table.from_pylist([asdict(record) for record in records], record_schema()), origin or {})


def record_schema() -> pa.Schema:
    """The parquet schema of `Explanation`, as its fields say it."""
    import pyarrow as pa

    return pa.schema(list(_arrow_type(Explanation)))


def _arrow_type(hint: Any, number: str = "") -> pa.DataType:
    """The parquet type of a field's type; `number` is that of the numbers inside it."""
    import pyarrow as pa

    if get_origin(hint) is Annotated:
        inner, number = get_args(hint)
        return _arrow_type(inner, number)
    if isinstance(hint, UnionType) or get_origin(hint) not in (None, list):  # X | None
        return _arrow_type(next(kind for kind in get_args(hint) if kind is not type(None)), number)
    if get_origin(hint) is list:
        return pa.list_(_arrow_type(get_args(hint)[0], number))
    if is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return pa.struct([(field.name, _arrow_type(hints[field.name])) for field in fields(hint)])
    return pa.string() if hint is str else pa.type_for_alias(number or {int: "int64", float: "float64"}[hint])


def read_explanations(path: Path, origin: Mapping[str, str] | None = None) -> list[Explanation]:
    """Read what `write_explanations` wrote.

    Args:
        path: The file.
        origin: What the records must follow from; not checked when left out.

    Raises:
        LookalikeError: The file is missing or damaged, is no such file, or follows from something else.
    """
    from lookalike.core.tables import read_table

    rows = read_table(path, origin or {}, [field.name for field in fields(Explanation)]).to_pylist()
    nested = {
        name: get_args(hint)[0]
        for name, hint in get_type_hints(Explanation).items()
        if get_origin(hint) is list and is_dataclass(get_args(hint)[0])
    }
    return [
        Explanation(**{**row, **{name: [kind(**item) for item in row[name]] for name, kind in nested.items()}})
        for row in rows
    ]
