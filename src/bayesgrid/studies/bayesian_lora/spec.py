"""Run specification of the study: one fitted posterior, evaluated on one data set."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import ModelCatalog, ModelEntry
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.prepared_models import ModelStructure
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import RunSpec, seed_slug
from bayesgrid.studies.bayesian_lora.fit_parameters import Scope
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.job_resources import JobSize, split_size

__all__ = ["SPEC", "BayesianLoraSpec", "EvaluationSpec"]

_LINEARISED_TOGETHER = 128
"""Questions whose gradients are held at once."""


class EvaluationSpec(Parameters):
    """What the posterior is asked, and how it answers."""

    dataset: str | None = None
    """Data set whose test split is answered; the one trained on by default."""
    examples: int | None = Field(default=None, ge=1)
    """Test questions, a fixed random subset; all by default."""
    draws: int = Field(default=10, ge=0)
    """Posterior draws; 0 answers with the posterior mean alone."""
    scope: Scope = "all"
    """Which adapters are drawn; ``head`` keeps those of the backbone at their mean."""
    antithetic: bool = False
    """Whether every second draw is the mirror image of the one before."""
    trial: int = Field(default=0, ge=0)
    """Repetition with other draws, nested in the training seed."""


class BayesianLoraSpec(FitSpec):
    """A fit (all its keys), and the data set it is evaluated on."""

    study: ClassVar[str] = "bayesian_lora"
    revision: ClassVar[int] = 1
    entry_point: ClassVar[str] = "bayesgrid.studies.bayesian_lora.evaluate:run"

    evaluation: EvaluationSpec = EvaluationSpec()

    def fit(self) -> FitSpec:
        """Return the fit that is evaluated."""
        values = self.model_dump(mode="json")
        values.pop("evaluation")
        return FitSpec.from_parameters(values, where="fit of an evaluation")

    def needs(self) -> Mapping[str, RunSpec]:
        """Return the fit, as role ``fit``."""
        return {"fit": self.fit()}

    def evaluated(self) -> str:
        """Return the name of the data set whose test split is answered."""
        return self.evaluation.dataset or self.dataset

    def sparse_parameters(self) -> dict[str, Any]:
        """Return the parameters that differ from what their absence stands for.

        The training set has one spelling, and what a method without draws cannot read is left out.
        """
        sparse = super().sparse_parameters()
        unread = set(self._unread_evaluation())
        if self.evaluation.dataset == self.dataset:
            unread.add("dataset")
        evaluation = {key: value for key, value in sparse.pop("evaluation", {}).items() if key not in unread}
        return {**sparse, "evaluation": evaluation} if evaluation else sparse

    def _unread_evaluation(self) -> tuple[str, ...]:
        if self.method in ("zeroshot", "mle", "map"):
            return ("draws", "scope", "antithetic", "trial")
        if self.method == "ensemble":
            return ("scope", "antithetic", "trial", *(() if self.evaluation.draws == 0 else ("draws",)))
        if self.method in ("laplace", "laplace_kronecker"):
            # Its draws are laplace.logit_draws; 0 alone, the mean, is a choice here.
            return ("scope", "antithetic", *(() if self.evaluation.draws == 0 else ("draws",)))
        return ()

    def slug(self) -> str:
        """Return model, training set, method, mode, evaluated set if it is another, draws if not the usual, seeds."""
        parts = [self.model, self.dataset, self.method, *self.departures()]
        if "mode" in self.sparse_parameters():
            parts.append(self.mode)
        if self.evaluated() != self.dataset:
            parts += ["on", self.evaluated()]
        if "draws" in self.sparse_parameters().get("evaluation", {}):
            parts.append("mean" if self.evaluation.draws == 0 else f"draws{self.evaluation.draws}")
        return "-".join([*parts, seed_slug(self.seeds)])

    def dataset_names(self) -> tuple[str, ...]:
        """Return the training set and the evaluated one."""
        return tuple(dict.fromkeys((self.dataset, self.evaluated())))

    def job_size(self, datasets: DatasetCatalog | None, models: ModelCatalog | None) -> JobSize:
        """Return the size of the evaluation: every draw answers the test questions and the held-out labels."""
        learnt = self.learnt_labels(datasets)
        asked = self.evaluation.examples or split_size(datasets, self.evaluated(), "test")
        questions = asked + math.ceil(self.labels.validation_fraction * learnt)
        draws = max(1, self.evaluation.draws)
        if self.method in ("zeroshot", "mle", "map") or self.evaluation.draws == 0:
            draws = 1
        elif self.method == "ensemble":
            draws = self.ensemble.members
        linearised = self.method in ("laplace", "laplace_kronecker") and self.evaluation.draws > 0
        if linearised:
            # One pass forward, and one backward for each difference of two options.
            draws = self.options(datasets)
        together = min(questions, _LINEARISED_TOGETHER) if linearised else 0
        # The dual form needs the gradients of what was learnt again; the Kronecker factors stand for them.
        kept = together + (learnt if self.method == "laplace" else 0)
        return replace(
            super().job_size(datasets, models),
            slots=1 if linearised else draws,
            gradient_rows=together,
            questions=questions,
            passes=questions * draws * len(self.seeds),
            jacobian_rows=kept * (self.options(datasets) - 1) if linearised else 0,
        )

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if either data set cannot serve."""
        super().check(catalog)
        evaluated = catalog.choice_questions(self.evaluated())
        if "test" not in evaluated.splits:
            raise ConfigurationError(
                f"key 'evaluation.dataset': {self.evaluated()!r} has no test split", given=self.evaluated()
            )
        if self.evaluation.scope == "head" and (self.method == "ensemble" or not self.lora.head):
            raise ConfigurationError(
                "key 'evaluation.scope': there is no answer head that could be drawn by itself",
                given=f"head, for method {self.method} with lora.head: {str(self.lora.head).lower()}",
                allowed="all",
            )
        if self.evaluation.antithetic and self.method in ("ensemble", "mcdropout"):
            raise ConfigurationError(
                "key 'evaluation.antithetic': the draws of this method have no mirror images",
                given=self.method,
                allowed="blob, scalabl, tfb, ivon",
            )
        available = evaluated.splits["test"]
        if self.evaluation.examples is not None and available is not None and self.evaluation.examples > available:
            raise ConfigurationError(
                "key 'evaluation.examples': the test split is smaller",
                given=self.evaluation.examples,
                allowed=f"at most {available} of data set {self.evaluated()!r}",
            )

    def check_inputs(self, datasets: DatasetCatalog, entry: ModelEntry, structure: ModelStructure | None) -> None:
        """Raise ConfigurationError if the model cannot be asked the questions, or the data sets share no answer label.

        Images that a model cannot see come first: other labels would not help.
        """
        super().check_inputs(datasets, entry, structure)
        trained, evaluated = datasets.choice_questions(self.dataset), datasets.choice_questions(self.evaluated())
        if self.lora.head and not set(trained.labels) & set(evaluated.labels):
            raise ConfigurationError(
                "key 'evaluation.dataset': no answer label is among those trained on",
                given=f"{self.evaluated()}: {', '.join(evaluated.labels)}",
                allowed=f"a data set with some of {', '.join(trained.labels)}, or 'lora.head: false'",
            )


SPEC = BayesianLoraSpec
