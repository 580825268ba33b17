"""Run specification of the study: a preference model on one set of pairs, fitted once or as labels are bought."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import ModelCatalog
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug
from bayesgrid.studies.preference.evaluation_spec import EvaluationSpec, check_evaluation_sets, check_own_numbers
from bayesgrid.studies.preference_features.spec import PreferenceFeaturesSpec

__all__ = [
    "SPEC",
    "AcquisitionSpec",
    "InputSpec",
    "LabelSpec",
    "ModelSpec",
    "PosteriorSpec",
    "PreferenceSpec",
    "PreferenceTrainingSpec",
]

ModelKind = Literal[
    "bradley_terry",
    "pair_preference",
    "general_preference",
    "hybrid_preference",
    "bayesian_reference",
    "bayesian_exact",
]
"""What is fitted; each name is a file of ``models/``, the hybrid being GPM with a reward."""

Rule = Literal[
    "random",
    "entropy",
    "margin",
    "variance",
    "bald",
    "straddle",
    "probability_variance",
    "power_bald",
    "batch_bald",
    "d_optimal",
    "badge",
    "bait",
    "k_centre",
    "k_means_plus_plus",
    "mv_reference",
    "bald_reference",
    "ucb_reference",
]
"""How pairs are chosen; ``*_reference`` are the scores of the BGPM code, with its faults."""

_BAYESIAN = ("bayesian_reference", "bayesian_exact")
_SKEW = ("general_preference", "hybrid_preference", *_BAYESIAN)
_DISAGREEMENT: tuple[Rule, ...] = (
    "variance",
    "bald",
    "straddle",
    "probability_variance",
    "power_bald",
    "batch_bald",
)


class InputSpec(Parameters):
    """Which numbers of a response a model reads."""

    model: str | None = None
    """Base model whose features are read; null for sets that bring numbers of their own, as games do."""
    max_length: int = Field(default=256, ge=8)
    """Tokens of prompt and response together that the base model reads."""
    pooling: Literal["mean", "last"] = "mean"
    """Whether a response's feature is the mean of its tokens' states, or the state of its last one."""
    layout: Literal["separate", "joint"] = "separate"
    """Whether the base model reads a response by itself, or after its prompt."""
    product: bool = True
    """Whether features of the response are joined by their products with those of the prompt, one by one."""
    length: bool = True
    """Whether the logarithm of a response's length is among the features."""
    components: int | None = Field(default=None, ge=1)
    """Leading principal components that are kept, of all responses whatever their labels; null keeps all."""
    systems: tuple[str, ...] | None = None
    """Writers whose responses are used, where a set has several; null takes all."""


class ModelSpec(Parameters):
    """What is fitted (BGPM's values where it has them)."""

    kind: ModelKind = "bayesian_exact"
    hidden: int = Field(default=64, ge=0)
    """Width of the hidden layer; 0 is linear in the features."""
    dimension: int = Field(default=6, ge=2)
    """Length of a response's vector, even."""
    temperature: float | None = Field(default=None, gt=0)
    """What scores are divided by; by default 1 for rewards and pair networks, whose scores have any size, and 0.1 for
    vectors of length 1."""
    normalise: bool = True
    """Whether vectors of GPM have length 1."""
    gate: Literal["none", "linear", "squared"] = "none"
    """How the prompt weighs the blocks of a vector."""
    geometry: Literal["sphere", "euclidean"] = "sphere"
    """Of ``bayesian_exact``: projected normal vectors, or normal ones."""
    prior_variance: float = Field(default=0.03, gt=0)
    """Of the vectors' normal prior; on the sphere the prior of ``bayesian_exact`` is uniform."""
    kl_weight: float = Field(default=0.002, ge=0)
    """Of the divergence; 1 would be the evidence bound, and 0.002 is what BGPM takes."""
    kl_warmup: int = Field(default=10, ge=1)
    """Of ``bayesian_reference``: steps until the divergence has its weight."""
    sample_mix: float = Field(default=0.4, ge=0, le=1)
    """Of ``bayesian_reference``: share of the drawn vector in the one that is scored."""

    @model_validator(mode="after")
    def _even(self) -> "ModelSpec":
        if self.dimension % 2:
            raise ValueError(f"'dimension' must be even, since blocks have two coordinates; it is {self.dimension}")
        return self


class PosteriorSpec(Parameters):
    """Where disagreement between models comes from."""

    kind: Literal["none", "latent", "laplace", "ensemble"] = "laplace"
    """``latent``: the distribution of the embeddings (BGPM). ``laplace``: a Gauss-Newton posterior of the last layer.
    ``ensemble``: several networks."""
    members: int = Field(default=10, ge=2)
    """Networks of an ensemble."""
    prior_precision: float | None = Field(default=None, gt=0)
    """Of ``laplace``; null takes the one of largest evidence."""
    draws: int = Field(default=100, ge=2)
    """Of ``laplace``, for rules that need joint draws."""


class PreferenceTrainingSpec(Parameters):
    """How one fit goes."""

    steps: int = Field(default=100, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    early_stopping: Literal["none", "restore_best"] = "restore_best"
    """Whether the weights of the lowest loss on held-out labels are taken, logits scaled to them."""
    evaluate_every: int = Field(default=10, ge=1)
    """Steps between two looks at the held-out labels."""
    refit: Literal["scratch", "warm", "shrink_and_perturb"] = "scratch"
    """Where a round's fit starts; all take the same number of steps."""


class LabelSpec(Parameters):
    """Which pairs there are, and what their labels are."""

    oracle: Literal["simulated", "human"] = "simulated"
    """Who gives a label that is bought: the data set, or people, for whom the run stops in every round. For people the
    pool has pairs without a label as well."""
    initial: int | Literal["all"] = Field(default=100)
    """Labels of the first round, drawn at random; ``all`` labels the whole pool, and nothing is bought."""
    per_round: int = Field(default=75, ge=1)
    rounds: int = Field(default=8, ge=0)
    """How often labels are bought; there is one fit more."""
    pool: int | None = Field(default=6000, ge=2)
    """Pairs that may be bought, a random subset by seed; null takes all."""
    test: int | None = Field(default=3000, ge=2)
    """Pairs of the test prompts, the same for all seeds; null takes all."""
    split: Literal["prompt", "item", "pair", "group"] = "prompt"
    """What is on one side alone, the pool's or the test's: a prompt with all its pairs; a response, as the item of a
    game; a pair, both of whose responses the pool may hold; or a group of pairs, as the triple of a cycle."""
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of the prompts, items or pairs that are tested and never bought. Where people answer and the data set has
    no label to test on, so many of the labels are asked for in the first batch, at most ``test``, and never trained on.
    """
    validation_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the bought labels that are held out of training, for early stopping and the temperature."""
    target: Literal["sign", "drawn", "soft"] = "sign"
    """What a label is, given the probability that a pair has: the likelier side, a draw, or the probability itself.
    With people the probability is the share of votes, a tie as half."""
    minimum_gap: float = Field(default=0.0, ge=0)
    """Least distance from 0 of the logit of that probability; closer pairs are left out everywhere."""
    flip_probability: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that the annotator answers the other side; test labels are never flipped."""


class AcquisitionSpec(Parameters):
    """How pairs are chosen."""

    rule: Rule = "bald"
    selector: Literal["top", "cluster_reference", "cluster"] = "top"
    """What makes a batch of the scores: the highest, or the highest within clusters as the reference has it, or done
    right. Rules that choose whole batches have their own."""
    max_per_prompt: int | None = Field(default=1, ge=1)
    """Most pairs of one prompt in a batch; null sets no limit. ``random`` has none."""
    kappa: float = Field(default=1.0, ge=0)
    """Of ``straddle`` and ``ucb_reference``: weight of the deviation."""
    power: float = Field(default=1.0, ge=0)
    """Of ``power_bald``."""


class PreferenceSpec(RunSpec):
    """One model, one rule, one set of pairs, a block of seeds."""

    study: ClassVar[str] = "preference"
    revision: ClassVar[int] = 1
    entry_point: ClassVar[str] = "bayesgrid.studies.preference.run:run"
    publishes_rounds: ClassVar[bool] = True

    dataset: str
    """Set of pairs, as named in ``config/datasets.yaml``."""
    inputs: InputSpec = InputSpec()
    model: ModelSpec = ModelSpec()
    posterior: PosteriorSpec = PosteriorSpec()
    training: PreferenceTrainingSpec = PreferenceTrainingSpec()
    labels: LabelSpec = LabelSpec()
    acquisition: AcquisitionSpec = AcquisitionSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    def slug(self) -> str:
        """Return data set, model, rule and seeds."""
        return "-".join([self.dataset, self.model.kind, self.acquisition.rule, seed_slug(self.seeds)])

    def dataset_names(self) -> tuple[str, ...]:
        """Return the set of pairs, and those of the evaluation."""
        return (self.dataset, *self.evaluation.sets)

    def resources(self, datasets: DatasetCatalog | None = None, models: ModelCatalog | None = None) -> Resources:
        """Return what the CPU scale needs."""
        return Resources(mem_mb=4000, runtime=60)

    def labels_after(self, round_number: int) -> int:
        """Return how many labels the fit of round ``round_number``, from 0, has; 0 stands for the whole pool."""
        if self.labels.initial == "all":
            return 0
        return self.labels.initial + round_number * self.labels.per_round

    def features(self, dataset: str) -> PreferenceFeaturesSpec | None:
        """Return the run that reads the responses of ``dataset`` with the base model; None without one."""
        inputs = self.inputs
        if inputs.model is None:
            return None
        return PreferenceFeaturesSpec(
            model=inputs.model,
            dataset=dataset,
            pooling=inputs.pooling,
            max_length=inputs.max_length,
            layout=inputs.layout,
            systems=inputs.systems if dataset == self.dataset else None,
        )

    def needs(self) -> Mapping[str, RunSpec]:
        """Return the runs that read the responses: ``features``, and ``features:<set>`` for those of the evaluation.

        There are none for sets with numbers of their own.
        """
        roles = {"features": self.dataset, **{f"features:{name}": name for name in self.evaluation.sets}}
        runs = {role: self.features(dataset) for role, dataset in roles.items()}
        return {role: run for role, run in runs.items() if run is not None}

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if rule, posterior and model do not fit each other, or the data set has no pairs."""
        super().check(catalog)
        rule, kind, posterior = self.acquisition.rule, self.model.kind, self.posterior.kind
        if posterior == "latent" and kind not in _BAYESIAN:
            raise ConfigurationError(
                "key 'posterior.kind': the model's embeddings have no distribution",
                given=f"latent, with model.kind: {kind}",
                allowed="none, laplace, ensemble, or one of the models " + ", ".join(_BAYESIAN),
            )
        if rule in _DISAGREEMENT and posterior == "none":
            raise ConfigurationError(
                f"key 'acquisition.rule': nothing can disagree without a posterior, which {rule!r} needs",
                given="posterior.kind: none",
                allowed="latent, laplace, ensemble",
            )
        if rule.endswith("_reference") and kind not in _BAYESIAN:
            raise ConfigurationError(
                "key 'acquisition.rule': the reference scores the variances of embeddings",
                given=f"{rule}, with model.kind: {kind}",
                allowed=", ".join(_BAYESIAN),
            )
        if self.labels.oracle == "human" and (self.labels.target == "drawn" or self.labels.flip_probability):
            raise ConfigurationError(
                "key 'labels.oracle': people's answers are neither drawn nor flipped",
                given=f"target: {self.labels.target}, flip_probability: {self.labels.flip_probability:g}",
                allowed="target: sign or soft, flip_probability: 0",
            )
        if self.labels.initial != "all" and self.labels.initial < 2:
            raise ConfigurationError(
                "key 'labels.initial': too few", given=self.labels.initial, allowed="all, 2 or more"
            )
        self._check_sets(catalog)

    def _check_sets(self, catalog: DatasetCatalog) -> None:
        catalog.preference_pairs(self.dataset)
        check_evaluation_sets(self.evaluation, self.dataset, catalog)
        if self.inputs.model is not None:
            return
        check_own_numbers(self.dataset_names(), catalog)
        if self.model.gate != "none":
            raise ConfigurationError(
                "key 'model.gate': a gate needs prompts that a base model has read",
                given=f"{self.model.gate}, with inputs.model: null",
                allowed="none, or a base model under inputs.model",
            )


SPEC = PreferenceSpec
