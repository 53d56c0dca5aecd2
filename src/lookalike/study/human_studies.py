"""What a study says about people's responses and released outputs of classifiers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lookalike.contracts.settings import Settings

FILES = ("sessions", "trials", "queries", "classifier_outputs")  # the keys of an entry that name one


class ExclusionRule(Settings):
    """Sessions that are dropped before anything is computed."""

    measure: Literal["accuracy", "balanced_accuracy", "validation_correct"] = Field(
        description="Number of a session that is looked at: share of right answers, mean of those where the AI is "
        "right and where it is wrong, or right answers in the validation phase."
    )
    at_most: Annotated[float, Field(ge=0)] = Field(description="Largest value at which a session is dropped.")


class HumanStudySettings(Settings):
    """Responses of one human study, outputs of the classifiers it shows, or both."""

    sessions: str | None = Field(None, description="CSV file (.gz too), one row a finished session.")
    trials: str | None = Field(None, description="CSV file, one row an answer.")
    queries: str | None = Field(None, description="CSV file, one row a query image, for families of hard queries.")
    classifier_outputs: str | None = Field(
        None, description="CSV file, one row an image of the pool that queries were drawn from."
    )
    exclude: tuple[ExclusionRule, ...] = Field((), description="Rules written before the data are looked at.")
    tested: Literal["accuracy", "balanced_accuracy"] = Field(
        "accuracy", description="What a session counts for in tests between conditions."
    )
    tuning_images: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Images of the pool on which the thresholds of human-AI teams are tuned."
    )

    def files(self) -> dict[str, str]:
        """The files that the entry names: key -> path."""
        return {key: path for key in FILES if (path := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _complete(self) -> HumanStudySettings:
        if (self.sessions is None) != (self.trials is None):
            raise ValueError("sessions and trials belong together; give both or neither")
        if self.trials is None and self.classifier_outputs is None:
            raise ValueError("give sessions and trials, classifier_outputs, or all three")
        if self.trials is None and (self.queries or self.exclude):
            raise ValueError("queries and exclude need sessions and trials")
        if (self.tuning_images is not None) and (self.trials is None or self.classifier_outputs is None):
            raise ValueError("tuning_images needs sessions, trials and classifier_outputs: a team is made of both")
        return self
