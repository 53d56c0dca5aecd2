"""No bit of what stages read changes in silence: a sentence names the file, or the result is what it was."""

import random
from pathlib import Path

import pytest
from helpers.studies import changed_plan, finish, opened, run_stage, tiny_study

from lookalike.contracts.explanation import read_explanations
from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json
from lookalike.core.tables import read_csv
from lookalike.core.tensors import read_tensors
from lookalike.data.prepared import PreparedData
from lookalike.reporting.collect import read_predictions
from lookalike.study.plan import Evaluation, Plan
from lookalike.training.checkpoint import load_checkpoint, save_checkpoint

FLIPS = 50  # of each kind of file


@pytest.fixture
def finished(tiny: Plan) -> Plan:
    plan = changed_plan(tiny, models={"nw": {**tiny_study()["models"]["nw"], "modes": ["full"]}})
    finish(plan)
    run_stage(plan, "collect_metrics")
    return plan


def network(plan: Plan) -> str:
    """The weights that a stage would compute with."""
    state = opened(plan, next(iter(plan.runs()))).classifier().state_dict()
    return digest({name: value.tolist() for name, value in state.items()})


def checkpoint(path: Path) -> object:
    state = load_checkpoint(path, "key")
    return None if state is None else {name: value.tolist() for name, value in state["network"].items()}


@pytest.mark.long
def test_no_bit_of_what_stages_read_changes_in_silence(finished: Plan) -> None:
    plan = finished
    run = next(iter(plan.runs()))
    evaluation = Evaluation(run, "full", "test")
    saved = run.folder / "saved.pt"
    save_checkpoint(saved, "key", {"network": read_tensors(run.weights)})
    data = plan.data_folder("digits")
    kinds = {
        evaluation.predictions: lambda: read_predictions(evaluation).to_csv(),
        evaluation.explanations: lambda: read_explanations(evaluation.explanations, evaluation.origin),
        run.weights: lambda: network(plan),
        run.record: lambda: read_json(run.record),
        run.history: lambda: read_csv(run.history).to_csv(),
        run.support: lambda: opened(plan, run).classifier_with_support().support_tensors()["features"].tolist(),
        run.queries("test"): lambda: opened(plan, run).queries("test", opened(plan, run).data).features.tolist(),
        saved: lambda: checkpoint(saved),
        plan.path: lambda: Plan.read(plan.path).as_json(),
        plan.folder / "tables" / "metrics.csv": lambda: read_csv(plan.folder / "tables" / "metrics.csv").to_csv(),
        data / "manifest.json": lambda: PreparedData(data).manifest,
        data / "index.parquet": lambda: PreparedData(data).index["label"].tolist(),
    }
    chooser, refused = random.Random(0), 0
    for path, read in kinds.items():
        content, before = path.read_bytes(), read()
        for _ in range(FLIPS):
            place = chooser.randrange(len(content))
            changed = bytes([content[place] ^ 1 << chooser.randrange(8)])
            path.write_bytes(content[:place] + changed + content[place + 1 :])
            try:
                after = read()
            except LookalikeError as error:
                refused += 1
                assert path.name in str(error) or path.parent.name in str(error), (path, str(error))  # noqa: PT017
                continue
            if isinstance(after, dict) and isinstance(before, dict):  # the name of a digest is no content
                after = {key: value for key, value in after.items() if key in before}
            assert after == before or (path == saved and after is None), (path, place)
            if path == saved and not path.exists():
                refused += 1
        path.write_bytes(content)
    assert refused > 0.9 * FLIPS * len(kinds) / 2
