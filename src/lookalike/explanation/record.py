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
    """

    id: int
    label: int
    weight: float
    influence: float | None = None
    predicted: int | None = None
    heat_map: list[list[float]] | None = None


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
) -> list[Explanation]:
    """Records of a batch from exemplar ids, labels, weights, influence and predicted classes, each (B, k)."""
    probabilities = prediction.log_probs.double().exp().cpu()
    classes = prediction.predicted()
    records = []
    for row in range(len(queries)):
        unknown = [None] * ids.shape[1]
        values = influence[row].tolist() if influence is not None else unknown
        given = predicted[row].tolist() if predicted is not None else unknown
        columns = (ids[row].tolist(), labels[row].tolist(), weights[row].tolist(), values, given)
        by_id = {parts[0]: Exemplar(*parts) for parts in zip(*columns, strict=True)}  # each image once
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
    return [Explanation(**{**row, "exemplars": [Exemplar(**e) for e in row["exemplars"]]}) for row in rows]
