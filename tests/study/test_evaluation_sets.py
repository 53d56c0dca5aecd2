"""Names of evaluation sets."""

import pytest

from lookalike.study.evaluation_sets import EvaluationSet, parse_evaluation_set


def test_names_of_evaluation_sets() -> None:
    assert parse_evaluation_set("test") == EvaluationSet("test")
    assert parse_evaluation_set("train-gaussian_blur-5") == EvaluationSet("train", "gaussian_blur", 5)
    assert parse_evaluation_set("validation-adversarial_patch") == EvaluationSet("validation", patched=True)
    for wrong in (
        "tset",
        "test-gaussian_noise",
        "test-gaussian_noise-6",
        "test-patch",
        "test-adversarial_patch-1",
        "test-",
        "testadversarial_patch",
    ):
        with pytest.raises(ValueError, match="unknown; write test, train or validation"):
            parse_evaluation_set(wrong)
