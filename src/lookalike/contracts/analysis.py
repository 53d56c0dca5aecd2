"""The contract of an analysis: what a method leaves of a run beside its predictions and explanations.

An analysis is a row in its method's settings class. From the row come the job that runs it, its output, the cluster's
resources, and the tables and figures that read it; a new one touches its method's room alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Analysis:
    """A row: one analysis of a method's runs.

    Attributes:
        name: Name of the output and of the command's argument; lower case, underscores.
        title: What the analysis does, as the workflow's messages say it.
        compute: `module:function` that takes a `lookalike.methods.analysis_input.AnalysisInput` and gives the content
            of the output.
        suffix: `parquet` where the function gives columns, `safetensors` where it gives tensors.
        key: Dotted key of the settings that ask for it, `inference.counterfactuals`; null there means no analysis.
            Empty where every run of the method has it.
        needs_network: Whether it passes images through the network, and so asks for a GPU where there is one.
        tables: Names of the method's tables that read the output.
        figures: Kinds of the method's figures that read the output.
    """

    name: str
    title: str
    compute: str
    suffix: Literal["parquet", "safetensors"]
    key: str = ""
    needs_network: bool = True
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
