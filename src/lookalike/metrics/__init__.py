"""Metrics of predictions: arrays in, numbers out; numpy alone, scipy where a temperature is fitted.

`classification`, `real_labels`, `calibration`, `tempering`, `ood` (out-of-distribution), `statistics` (over seeds, and
paired comparisons), `metric` (how one is declared).
"""

from lookalike.metrics.calibration import adaptive_ece, brier, ece, nll
from lookalike.metrics.ood import auroc, fpr95
from lookalike.metrics.tempering import temperature

__all__ = ["adaptive_ece", "auroc", "brier", "ece", "fpr95", "nll", "temperature"]
# Modules with the metrics of every classifier; those of methods are named by their settings classes.
GENERAL = ("lookalike.metrics.classification", "lookalike.metrics.real_labels", "lookalike.metrics.calibration")
