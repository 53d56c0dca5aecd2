"""The Explanation record: one form for all methods, stored as parquet, drawn by one room."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import LookalikeError
from lookalike.files import writing

if TYPE_CHECKING:
    from torch import Tensor

    from lookalike.methods.base import Embedded, Prediction


SHOWN_EXEMPLARS, SHOWN_PAIRS = 5, 5


@dataclass(frozen=True)
class PatchPair:
    """A patch of the query and the patch of an exemplar that belongs to it.

    Attributes:
        query, exemplar: numbers of the patches, row by row.
        strength: how much the pair counts.
        colour: number of the colour it is drawn in.
    """

    query: int
    exemplar: int
    strength: float
    colour: int


@dataclass(frozen=True)
class Exemplar:
    """A training image that takes part in a decision.

    Attributes:
        id: image id in the data set's index.
        label: its class.
        weight: its share of the decision, 0 to 1.
        influence: how much the query's loss grows when it is taken away, in nats; None where unknown.
        predicted: class that the model gives to it; None where unknown.
        heat_map: (H, W) what its pixels add to the logit of the query's class; None where unknown.
        similarity: by which it was ranked; None where weights say it.
        partner: (R,) its patch that each query patch goes to, patches row by row; None where none are compared.
        strength: (R,) how much each of these pairs counts.
        correlation: (2, R) of each query patch with this image, and of each patch of it with the query.
    """

    id: int
    label: int
    weight: float
    influence: float | None = None
    predicted: int | None = None
    heat_map: list[list[float]] | None = None
    similarity: float | None = None
    partner: list[int] | None = None
    strength: list[float] | None = None
    correlation: list[list[float]] | None = None

    def strongest_pairs(self, count: int = SHOWN_PAIRS) -> list[PatchPair]:
        """The patch pairs that count most, the weakest first; of equal ones the lower query patch is stronger.

        Pairs that end in the same patch of this image have the weakest one's number, that of a colour.
        """
        if self.partner is None or self.strength is None:
            return []
        strength = self.strength
        order = sorted(range(len(strength)), key=lambda patch: -strength[patch])[:count][::-1]
        ends = [self.partner[patch] for patch in order]
        return [PatchPair(patch, end, strength[patch], ends.index(end)) for patch, end in zip(order, ends, strict=True)]


@dataclass(frozen=True)
class PrototypeMatch:
    """A prototype, a distribution over images, that a query looks like.

    Attributes:
        label: its class.
        component: its number in the class.
        weight: its share of the decision, 0 to 1: probability of the class times the responsibility.
        responsibility: its share of the query among the prototypes of its class, 0 to 1.
        log_density: of query and prototype, nats.
        picture: (H, W, C) levels 0 to 255: its most typical image.
        nearest: ids of the training images whose density under it is highest.
    """

    label: int
    component: int
    weight: float
    responsibility: float
    log_density: float
    picture: list[list[list[int]]]
    nearest: list[int]


@dataclass(frozen=True)
class Explanation:
    """Why a query got its class.

    Attributes:
        query: image id.
        label: true class.
        predicted: class given.
        confidence: its probability.
        mode: inference mode that decided.
        probabilities: one a class.
        exemplars: heaviest first.
        heat_map: (H, W) what the query's pixels add to the logit of its class; None where unknown.
        completeness_error: share of the logit's change that all heat maps together miss.
        grid: rows and columns of patches; None where none are compared.
        nearest: exemplars that stood in their place before re-ranking, of the class these voted for.
        prototypes: those it looks most like, the heaviest first.
    """

    query: int
    label: int
    predicted: int
    confidence: float
    mode: str
    probabilities: list[float]
    exemplars: list[Exemplar] = field(default_factory=list)
    heat_map: list[list[float]] | None = None
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


def exemplars(
    queries: Embedded,
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
    probabilities = prediction.log_probs.double().exp().cpu()
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


def write_explanations(path: Path, records: list[Explanation]) -> None:
    """Write the records as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    heat_map = pa.list_(pa.list_(pa.float32()))
    exemplar = pa.struct(
        [
            ("id", pa.int64()),
            ("label", pa.int64()),
            ("weight", pa.float64()),
            ("influence", pa.float64()),
            ("predicted", pa.int64()),
            ("heat_map", heat_map),
            ("similarity", pa.float64()),
            ("partner", pa.list_(pa.int64())),
            ("strength", pa.list_(pa.float64())),
            ("correlation", pa.list_(pa.list_(pa.float32()))),
        ]
    )
    prototype = pa.struct(
        [
            ("label", pa.int64()),
            ("component", pa.int64()),
            ("weight", pa.float64()),
            ("responsibility", pa.float64()),
            ("log_density", pa.float64()),
            ("picture", pa.list_(pa.list_(pa.list_(pa.uint8())))),
            ("nearest", pa.list_(pa.int64())),
        ]
    )
    schema = pa.schema(
        [
            ("query", pa.int64()),
            ("label", pa.int64()),
            ("predicted", pa.int64()),
            ("confidence", pa.float64()),
            ("mode", pa.string()),
            ("probabilities", pa.list_(pa.float64())),
            ("exemplars", pa.list_(exemplar)),
            ("heat_map", heat_map),
            ("completeness_error", pa.float64()),
            ("grid", pa.list_(pa.int64())),
            ("nearest", pa.list_(exemplar)),
            ("prototypes", pa.list_(prototype)),
        ]
    )
    with writing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(record) for record in records], schema), temporary)


def read_explanations(path: Path) -> list[Explanation]:
    """Read what `write_explanations` wrote.

    Raises:
        LookalikeError: the file is missing or is no such parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(path).read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise LookalikeError(f"{path} cannot be read ({error}); delete it and run again.") from None
    lists: dict[str, type] = {"exemplars": Exemplar, "nearest": Exemplar, "prototypes": PrototypeMatch}
    return [Explanation(**{**row, **{n: [kind(**e) for e in row[n]] for n, kind in lists.items()}}) for row in rows]
