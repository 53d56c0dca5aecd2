"""Learning rates over time."""

import pytest

from lookalike.contracts.settings import TrainingSettings
from lookalike.training.schedules import learning_rate


def test_schedules() -> None:
    multistep = TrainingSettings(schedule="multistep", milestones=(2, 3), lr=1.0, epochs=4)
    assert [round(learning_rate(multistep, step, 2), 9) for step in range(8)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    cosine = TrainingSettings(schedule="cosine", lr=1.0, epochs=2, warmup_epochs=1)
    rates = [learning_rate(cosine, step, 4) for step in range(8)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:] == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
