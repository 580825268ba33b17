"""Run specification of the BALSA active-regression study: one agent on one data set, a block of seeds."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import ModelCatalog
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug
from bayesgrid.studies.regression.agents import agent_names, check_agent, reference_candidates, reference_dropout

__all__ = [
    "FAITHFUL_VALUES",
    "SPEC",
    "EvaluationSpec",
    "LabelProtocol",
    "NetworkSpec",
    "PosteriorSpec",
    "RegressionSpec",
    "TrainingSpec",
]


class LabelProtocol(Parameters):
    """How labels are split and bought (BALSA, section 5 and table 2)."""

    initial: Annotated[int, Field(ge=2)] | Literal["all"] = 200
    """Labelled examples before the first query, drawn at random; ``all`` labels every training row."""
    budget: int = Field(default=800, ge=0)
    """Labels bought in all, on top of the initial ones; 0 buys none, so that one fit is all there is."""
    query_size: int = Field(default=50, ge=1)
    """Labels bought per round; the paper uses 1, 50 and 200."""
    candidates: int = Field(default=5000, ge=1)
    """Pool examples scored per round, a random subset when the pool is larger (5,000 in the reference)."""
    split: Literal["random", "grouped", "published"] = "random"
    """``random`` as in the paper; ``grouped`` keeps a subject, family or trajectory on one side; ``published`` takes
    the test rows that come with the data set, and draws validation rows at random."""
    published_split: int = Field(default=0, ge=0)
    """Which of the data set's own test splits ``split: published`` takes."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of all rows held out for testing, unless the split is published; one split for all seeds."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the remaining rows held out for early stopping, drawn per seed."""
    validation_rows: int | None = Field(default=None, ge=1)
    """Rows of the validation share that early stopping looks at, at most, drawn per seed; all of them by default."""
    test_split_seed: int = Field(default=0, ge=0)
    """Seed of the test split, unless it is published."""
    target_scale: Literal["standardised", "unit"] = "standardised"
    """What the network is fitted to: targets standardised by the initial labels, or scaled to [0, 1] on all rows
    outside the test split, whose labels nobody has paid for."""


class NetworkSpec(Parameters):
    """The network: an encoder with dropout, then a head (BALSA, figure 1; widths from the reference's settings)."""

    hidden: tuple[int, ...] = Field(default=(32, 32, 64, 128), min_length=1, strict=False)
    """Widths of the encoder's layers; every layer after the first is followed by dropout."""
    activation: Literal["relu", "none"] = "relu"
    """Between encoder layers; the paper draws ReLU, the reference code has none."""
    head_hidden: tuple[int, ...] = Field(default=(64, 64), strict=False)
    """Widths of the layers that map the encoding to the parameters of one spline."""
    bins: int = Field(default=8, ge=2)
    """Bins of each rational-quadratic spline."""
    transforms: Literal[2] = 2
    """Number of splines in sequence; the fused scores are written for two."""


class TrainingSpec(Parameters):
    """How the network is fitted after every query."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Of NAdam, per step."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Coupled L2 penalty of NAdam."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout probability while training; the same for all agents, so that agents differ in selection alone."""
    batch_size: int = Field(default=16, ge=1)
    """Examples per step; the last, smaller batch of an epoch is dropped."""
    max_epochs: int = Field(default=200, ge=1)
    """Epochs at most."""
    first_fit_epochs: int | None = Field(default=None, ge=1)
    """Epochs at most of the fit to the initial labels; as many as of the others by default."""
    patience: int = Field(default=20, ge=1)
    """Epochs without improvement of the validation NLL before the fit stops."""
    minimum_improvement: float = Field(default=1e-4, ge=0)
    """Smallest decrease of the validation NLL, in nats, that counts as improvement."""
    early_stopping: Literal["restore_best", "last_weights", "inverted"] = "restore_best"
    """What happens when validation stops improving: the best weights are restored, or the last ones are kept.
    ``inverted`` keeps the last ones and takes a higher validation NLL for an improvement, as the reference code does.
    """
    warm_start: Literal["scratch", "continue", "shrink_perturb"] = "shrink_perturb"
    """Weights a refit starts from: the seed's initial ones, the last ones, or the last ones shrunk and perturbed."""
    optimiser_state: Literal["fresh", "kept"] = "fresh"
    """Whether a refit starts with empty moments, or with those the last fit ended with."""
    refit_after: Literal["query", "label"] = "query"
    """Whether the network is fitted again once per query, or after every single label of it."""


class PosteriorSpec(Parameters):
    """How disagreement between posterior draws is computed."""

    sampler: Literal["dropout", "ensemble"] = "dropout"
    """Whether a draw is the network under a dropout mask, or one of as many networks, trained by themselves."""
    masks: Literal["per_function", "per_row"] = "per_function"
    """Whether one mask serves all candidates, so that a draw is a function, or every candidate gets its own."""
    draws: int = Field(default=25, ge=2)
    """Dropout masks per query, each one function for all candidates."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout probability of those masks (BALSA, table 1)."""
    grid_nodes: int = Field(default=64, ge=8)
    """Nodes of the density grid, adapted to each candidate (the reference: 200 on a fixed interval)."""
    quantile_nodes: int = Field(default=64, ge=2)
    """Quantiles at which Wasserstein distances are compared."""
    tail_probability: float = Field(default=1e-4, gt=0, lt=0.5)
    """Probability beyond each end of the density grid."""


class EvaluationSpec(Parameters):
    """When and how much is measured along the way."""

    every: int = Field(default=1, ge=1)
    """Rounds from one test evaluation to the next; the first and the last round are always evaluated."""
    diagnostics: bool = False
    """Whether every query reports what its scores rank by: noise floor, grid coverage, correlation with spread."""


FAITHFUL_VALUES: Mapping[str, Mapping[str, Any]] = {
    "labels": {"target_scale": "unit"},
    "network": {"activation": "none"},
    "training": {
        "batch_size": 64,
        "max_epochs": 100,
        "first_fit_epochs": 50,
        "patience": 5,
        "minimum_improvement": 0.0,
        "early_stopping": "inverted",
        "warm_start": "continue",
        "optimiser_state": "kept",
        "refit_after": "label",
    },
    "posterior": {"masks": "per_row", "grid_nodes": 200},
}
"""What ``mode: faithful`` puts in the place of defaults: the recipe of the reference code at commit d68a3380."""


_SHOWN_IN_SLUG = (
    ("training", "early_stopping"),
    ("posterior", "sampler"),
)
"""Values that experiments sweep, and that a reader of a folder's name looks for when they are not the usual ones. A key
that is older than its entry here cannot join them: the ids of its runs would move."""


class RegressionSpec(RunSpec):
    """One agent on one data set with one architecture, for a block of seeds."""

    study: ClassVar[str] = "regression"
    revision: ClassVar[int] = 1
    entry_point: ClassVar[str] = "bayesgrid.studies.regression.run:run"
    publishes_rounds: ClassVar[bool] = True

    dataset: str
    """Data set, as named in ``config/datasets.yaml``."""
    architecture: Literal["spline_flow", "gaussian"] = "spline_flow"
    """Predictive density: neural spline flow, or a Gaussian with learned mean and standard deviation."""
    mode: Literal["corrected", "faithful"] = "corrected"
    """``faithful`` takes scores, selection, streams and, unless a key says otherwise, the recipe of the reference code,
    defects included."""
    agent: str
    """Acquisition agent, one of the files under ``studies/regression/agents``."""
    labels: LabelProtocol = LabelProtocol()
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    posterior: PosteriorSpec = PosteriorSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @model_validator(mode="before")
    @classmethod
    def _faithful_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("mode") != "faithful":
            return values
        filled = dict(values)
        for group, own in FAITHFUL_VALUES.items():
            given = filled.get(group, {})
            if isinstance(given, Mapping):
                filled[group] = {**own, **given}
        labels, agent = filled["labels"], filled.get("agent")
        if isinstance(labels, Mapping) and isinstance(agent, str) and agent in agent_names("faithful"):
            filled["labels"] = {"candidates": reference_candidates(agent), **labels}
        return filled

    @field_validator("agent")
    @classmethod
    def _agent_of_the_mode(cls, name: str, info: ValidationInfo) -> str:
        if "mode" in info.data:  # not if that field, which comes before this one, is itself at fault
            check_agent(name, info.data["mode"])
        return name

    def sparse_parameters(self) -> dict[str, Any]:
        """Return the parameters that differ from what their absence stands for; seeds are always there.

        In ``mode: faithful`` an absent key stands for the reference's value. A key that was set back to the study's own
        default, to correct one defect, must therefore be named.
        """
        sparse = super().sparse_parameters()
        if self.mode == "faithful":
            usual = {group: dict(values) for group, values in FAITHFUL_VALUES.items()}
            usual["labels"]["candidates"] = reference_candidates(self.agent)
            for group, values in usual.items():
                for name, value in values.items():
                    given = getattr(getattr(self, group), name)
                    if given != value:
                        sparse.setdefault(group, {})[name] = given
        return sparse

    def slug(self) -> str:
        """Return data set, architecture, agent, what differs of ``_SHOWN_IN_SLUG``, query size and seeds."""
        parts = [self.dataset, self.architecture, self.agent]
        if self.mode != "corrected":
            parts.append(self.mode)
        usual = FAITHFUL_VALUES if self.mode == "faithful" else {}
        for group, name in _SHOWN_IN_SLUG:
            values = getattr(self, group)
            value = getattr(values, name)
            if value != usual.get(group, {}).get(name, type(values).model_fields[name].default):
                parts.append(str(value))
        if self.labels.split == "published":
            parts.append(f"published{self.labels.published_split}")
        return "-".join([*parts, f"q{self.labels.query_size}", seed_slug(self.seeds)])

    def dataset_names(self) -> tuple[str, ...]:
        """Return the one data set of the run."""
        return (self.dataset,)

    def resources(self, datasets: DatasetCatalog | None = None, models: ModelCatalog | None = None) -> Resources:
        """Return one CPU thread, and time by the numbers of queries and of fits."""
        queries = -(-self.labels.budget // self.labels.query_size)
        fits = self.labels.budget if self.training.refit_after == "label" else queries
        networks = len(self.seeds) * (self.posterior.draws if self.posterior.sampler == "ensemble" else 1)
        minutes = 20 + queries * len(self.seeds) // 10
        if networks * fits > queries * len(self.seeds):
            minutes += networks * fits // 100
        return Resources(mem_mb=3000, runtime=minutes)

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if the data set lacks the split, or the labels asked for or one query exceed it."""
        super().check(catalog)
        entry = catalog.regression_table(self.dataset)
        self._check_published_split(catalog)
        if self.labels.split == "grouped" and entry.groups is None:
            grouped = sorted(name for name, other in catalog.regression_tables().items() if other.groups is not None)
            own = "random" if entry.published_splits is None else "random, published"
            raise ConfigurationError(
                f"key 'labels.split': data set {self.dataset!r} has no groups to split by",
                given="grouped",
                allowed=f"{own}, or one of the data sets {', '.join(grouped)}",
            )
        if self.labels.initial == "all":
            self._check_all_labelled()
            return
        rows = entry.rows
        published = self.labels.split == "published" and entry.published_splits
        test_fraction = 1 / published if published else self.labels.test_fraction
        pool = int(rows * (1 - test_fraction) * (1 - self.labels.validation_fraction))
        initial = self.labels.initial
        if initial > pool:
            raise ConfigurationError(
                "key 'labels.initial': the initial labels alone exceed the training rows",
                given=_with_origin(self.labels, "initial"),
                allowed=f"at most {pool} of data set {self.dataset!r} ({rows} rows)",
            )
        if initial + self.labels.budget > pool:
            terms = f"{_with_origin(self.labels, 'initial')} + {_with_origin(self.labels, 'budget')}"
            raise ConfigurationError(
                "key 'labels.budget': initial labels and budget exceed the training rows",
                given=f"{terms} = {initial + self.labels.budget}",
                allowed=f"at most {pool} of data set {self.dataset!r} ({rows} rows)",
            )
        if self.labels.budget and self.labels.query_size > min(self.labels.candidates, self.labels.budget):
            raise ConfigurationError(
                "key 'labels.query_size': one query exceeds the candidates scored or the budget",
                given=self.labels.query_size,
                allowed=f"at most {min(self.labels.candidates, self.labels.budget)}",
            )

    def _check_published_split(self, catalog: DatasetCatalog) -> None:
        labels, entry = self.labels, catalog.regression_table(self.dataset)
        splits = entry.published_splits
        if labels.split != "published":
            if labels.published_split:
                raise ConfigurationError(
                    "key 'labels.published_split': it has no effect on another split",
                    given=f"{labels.published_split}, with labels.split: {labels.split}",
                    allowed="labels.split: published",
                )
            return
        if splits is None:
            tables = catalog.regression_tables()
            known = sorted(name for name, other in tables.items() if other.published_splits is not None)
            own = "random" if entry.groups is None else "random, grouped"
            raise ConfigurationError(
                f"key 'labels.split': no test splits are published with data set {self.dataset!r}",
                given="published",
                allowed=f"{own}, or one of the data sets {', '.join(known) or '(none)'}",
            )
        if labels.published_split >= splits:
            raise ConfigurationError(
                "key 'labels.published_split': no such split",
                given=labels.published_split,
                allowed=f"0 to {splits - 1} of data set {self.dataset!r}",
            )

    def dropout_probabilities(self) -> tuple[float, float]:
        """Return the dropout probability while training and that of the posterior's masks.

        In ``mode: faithful`` they are the agent's: the reference code trains and scores under at least 0.05 for agents
        that read draws, except the dual ones, which train under the tuned probability.
        """
        if self.mode == "corrected":
            return self.training.dropout, self.posterior.dropout
        return reference_dropout(self.agent, self.training.dropout)

    def _check_all_labelled(self) -> None:
        if self.labels.budget != 0:
            raise ConfigurationError(
                "key 'labels.budget': there is nothing to buy when labels.initial is 'all'",
                given=_with_origin(self.labels, "budget"),
                allowed="0",
                remedy="set labels.budget: 0",
            )
        if self.labels.split == "grouped" and len(self.seeds) > 1:
            raise ConfigurationError(
                "key 'labels.initial': with a grouped split, seeds have different numbers of training rows",
                given="all, for several seeds at once",
                allowed="seed_block: 1",
            )


def _with_origin(labels: LabelProtocol, name: str) -> str:
    """Return a value of ``labels`` as text that says so if nobody chose it."""
    value = str(getattr(labels, name))
    return value if name in labels.model_fields_set else f"{value} (the default)"


SPEC = RegressionSpec
