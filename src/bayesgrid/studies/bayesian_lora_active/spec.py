"""Run specification of the study: a method that buys its own labels in rounds, by one rule of acquisition."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import ModelCatalog
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import RunSpec, seed_slug
from bayesgrid.studies.bayesian_lora.fit_parameters import NOISY_METHODS, PARENTS
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.job_resources import JobSize, split_size

__all__ = ["DISAGREEMENT_RULES", "FAITHFUL_ACQUISITION", "SPEC", "AcquisitionSpec", "BayesianLoraActiveSpec", "Rule"]

Rule = Literal[
    "random", "entropy", "least_confidence", "margin", "bald", "power_bald", "batch_bald", "k_means_plus_plus"
]
"""How labels are chosen; the scores and batch rules of :mod:`bayesgrid.acquisition`."""

DISAGREEMENT_RULES: tuple[Rule, ...] = ("bald", "power_bald", "batch_bald")
"""Rules that say nothing about a posterior with one draw."""

_POINTS = ("mle", "map")
_READ_BY: Mapping[str, Rule] = {
    "power": "power_bald",
    "exact_configurations": "batch_bald",
    "sampled_configurations": "batch_bald",
}


class AcquisitionSpec(Parameters):
    """How many labels are bought when, and which (defaults: the published protocol, active_learn.py)."""

    rule: Rule = "bald"
    initial: int = Field(default=10, ge=1)
    """Labels of the first round, drawn at random, the same for all methods and rules."""
    per_round: int = Field(default=10, ge=1)
    """Labels bought between two rounds."""
    rounds: int = Field(default=20, ge=1)
    """Number of fits: round r, from 0, has ``initial + r * per_round`` labels, and the last buys none."""
    pool: int | None = Field(default=1000, ge=1)
    """Unlabelled questions a rule chooses from, a random subset in every round; null takes all."""
    subsamples: Literal["independent", "reseeded"] = "independent"
    """Whether every round's subset is drawn anew, or from the generator seeded the same, as the reference does."""
    draws: int = Field(default=10, ge=1)
    """Posterior draws, for scores and for test answers; an ensemble has no more than its members."""
    evaluation_examples: int | None = Field(default=None, ge=1)
    """Test questions, a fixed random subset; all by default."""
    cold_start: bool = True
    """Whether every round's fit starts anew, or where the last one ended."""
    hold_out_from: int | None = Field(default=20, ge=2)
    """Bought labels from which on the share ``labels.validation_fraction`` of them is held out of training, for the
    temperature. Before that nothing is held out, and answers are given as they are. Null never holds out any."""
    power: float = Field(default=1.0, ge=0)
    """Of ``power_bald``: questions are drawn in proportion to their score to this power."""
    exact_configurations: int = Field(default=4096, ge=1)
    """Of ``batch_bald``: joint entropies are sums over up to so many label configurations."""
    sampled_configurations: int = Field(default=4096, ge=1)
    """Of ``batch_bald``: beyond that, means over so many drawn ones."""

    def labels_after(self, round_number: int) -> int:
        """Return the number of labels that round ``round_number``, from 0, has."""
        return self.initial + round_number * self.per_round


FAITHFUL_ACQUISITION: Mapping[str, Any] = {"subsamples": "reseeded", "hold_out_from": None}
"""What ``mode: faithful`` puts in the place of defaults: the reference code at commit 3843000."""


class BayesianLoraActiveSpec(FitSpec):
    """A fit (all its keys but ``labels.budget``) that is repeated as labels are bought."""

    study: ClassVar[str] = "bayesian_lora_active"
    revision: ClassVar[int] = 1
    entry_point: ClassVar[str] = "bayesgrid.studies.bayesian_lora_active.run:run"
    publishes_rounds: ClassVar[bool] = True

    acquisition: AcquisitionSpec = AcquisitionSpec()

    @model_validator(mode="before")
    @classmethod
    def _faithful_acquisition(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("mode") != "faithful":
            return values
        given = values.get("acquisition", {})
        if not isinstance(given, Mapping):
            return values
        return {**values, "acquisition": {**FAITHFUL_ACQUISITION, **given}}

    def trained(self) -> FitSpec:
        """Return the fit whose adapters gradient descent learns in every round: this one's, or its parent's."""
        parent = super().needs().get("parent")
        return parent if isinstance(parent, FitSpec) else self

    def needs(self) -> Mapping[str, RunSpec]:
        """Return nothing: what a method is fitted to is trained in the same round."""
        return {}

    def sparse_parameters(self) -> dict[str, Any]:
        """Return the parameters that differ from what their absence stands for; see :class:`FitSpec`.

        ``mode: faithful`` is named for methods that have one mode too, since acquisition has two. Parameters of another
        rule are left out.
        """
        sparse = super().sparse_parameters()
        acquisition = sparse.pop("acquisition", {})
        if self.mode == "faithful":
            sparse["mode"] = self.mode
            for name, value in FAITHFUL_ACQUISITION.items():
                if getattr(self.acquisition, name) != value:
                    acquisition[name] = getattr(self.acquisition, name)
        read = {
            name: value for name, value in acquisition.items() if _READ_BY.get(name, self.acquisition.rule) == self.rule
        }
        return {**sparse, "acquisition": read} if read else sparse

    @property
    def rule(self) -> Rule:
        """Return how labels are chosen."""
        return self.acquisition.rule

    def slug(self) -> str:
        """Return model, data set, method, rule, mode and seeds."""
        parts = [self.model, self.dataset, self.method, self.rule]
        if self.mode != "correct":
            parts.append(self.mode)
        return "-".join([*parts, seed_slug(self.seeds)])

    def job_size(self, datasets: DatasetCatalog | None, models: ModelCatalog | None) -> JobSize:
        """Return the size of all rounds: in each a fit, of a parent too, and answers of all draws."""
        fit = super().job_size(datasets, models)
        acquisition = self.acquisition
        pool = acquisition.pool or split_size(datasets, self.dataset, "train")
        asked = acquisition.evaluation_examples or split_size(datasets, self.dataset, "test")
        parent = self.trained()
        trained = 0 if parent is self else parent.job_size(datasets, models).passes
        answered = acquisition.draws * (pool + asked) * len(self.seeds)
        questions = asked + split_size(datasets, self.dataset, "train")
        return replace(fit, questions=questions, passes=acquisition.rounds * (fit.passes + trained + answered))

    def learnt_labels(self, datasets: DatasetCatalog | None) -> int:
        """Return how many labels the last round has."""
        return self.acquisition.labels_after(self.acquisition.rounds - 1)

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if the data set has too few questions, or rule and method do not fit each other."""
        super().check(catalog)
        splits = catalog.choice_questions(self.dataset).splits
        acquisition = self.acquisition
        if not splits.get("test"):
            raise ConfigurationError(f"key 'dataset': {self.dataset!r} has no test split", given=self.dataset)
        if self.method == "zeroshot":
            raise ConfigurationError("key 'method': nothing is learnt from labels", given=self.method)
        if self.labels.budget is not None:
            raise ConfigurationError(
                "key 'labels.budget': the labels of a run that buys them are counted under 'acquisition'",
                given=self.labels.budget,
                allowed="null",
            )
        if self.training.early_stopping != "none":
            raise ConfigurationError(
                "key 'training.early_stopping': the few labels held out in a round cannot say when to stop",
                given=self.training.early_stopping,
                allowed="none",
            )
        wanted, available = acquisition.labels_after(acquisition.rounds - 1), splits["train"]
        if available is not None and wanted > available:
            raise ConfigurationError(
                "key 'acquisition.rounds': the training split is smaller than what is bought",
                given=wanted,
                allowed=f"at most {available} labels of data set {self.dataset!r}",
            )
        examples, tested = acquisition.evaluation_examples, splits["test"]
        if examples is not None and tested is not None and examples > tested:
            raise ConfigurationError(
                "key 'acquisition.evaluation_examples': the test split is smaller",
                given=examples,
                allowed=f"at most {tested} of data set {self.dataset!r}",
            )
        if acquisition.pool is not None and acquisition.pool < acquisition.per_round:
            raise ConfigurationError(
                "key 'acquisition.pool': fewer questions than are bought in a round",
                given=acquisition.pool,
                allowed=f"at least {acquisition.per_round}",
            )
        self._check_rule()

    def _check_rule(self) -> None:
        rule = self.rule
        # The reference falls back on entropy there, for BALD.
        falls_back = rule == "bald" and self.mode == "faithful"
        single = self.method in _POINTS or (self.acquisition.draws == 1 and self.method not in PARENTS[1:])
        if rule in DISAGREEMENT_RULES and single and not falls_back:
            raise ConfigurationError(
                f"key 'acquisition.rule': method {self.method!r} has one draw, so nothing can disagree",
                given=rule,
                allowed="random, entropy, least_confidence, margin, k_means_plus_plus",
                remedy="exclude the combination from the grid, or raise acquisition.draws",
            )
        if rule == "batch_bald" and self.mode == "faithful" and self.method in NOISY_METHODS:
            raise ConfigurationError(
                "key 'acquisition.rule': the reference draws anew for every batch of questions, so they have no joint "
                "disagreement",
                given=f"{rule} with method {self.method!r} in mode faithful",
                allowed="bald, power_bald, or mode correct",
            )
        if rule == "batch_bald" and self.method in PARENTS[1:]:
            raise ConfigurationError(
                "key 'acquisition.rule': Laplace draws the logits of each question by itself, so batches have no joint "
                "disagreement",
                given=f"{rule} with method {self.method!r}",
                allowed="bald, power_bald, or another method",
            )


SPEC = BayesianLoraActiveSpec
