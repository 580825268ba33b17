"""Run specification of the BALSA active-regression study: one agent on one data set, a block of seeds."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from bayesgrid.errors import ConfigurationError, nearest_name
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug
from bayesgrid.studies.regression.agents import agent_names

__all__ = [
    "SPEC",
    "LabelProtocol",
    "NetworkSpec",
    "PosteriorSpec",
    "RegressionSpec",
    "TrainingSpec",
]


class LabelProtocol(Parameters):
    """How labels are split and bought (BALSA, section 5 and table 2)."""

    initial: int = Field(default=200, ge=2)
    """Labelled examples before the first query, drawn at random."""
    budget: int = Field(default=800, ge=1)
    """Labels bought in all, on top of the initial ones."""
    query_size: int = Field(default=50, ge=1)
    """Labels bought per round; the paper uses 1, 50 and 200."""
    candidates: int = Field(default=5000, ge=1)
    """Pool examples scored per round, a random subset when the pool is larger (5,000 in the reference)."""
    split: Literal["random", "grouped"] = "random"
    """``random`` as in the paper; ``grouped`` keeps a subject, family or trajectory on one side."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of all rows held out for testing; one split for all seeds."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the remaining rows held out for early stopping, drawn per seed."""
    validation_rows: int | None = Field(default=None, ge=1)
    """Rows of the validation share that early stopping looks at, at most, drawn per seed; all of them by default."""
    test_split_seed: int = Field(default=0, ge=0)
    """Seed of the test split."""


class NetworkSpec(Parameters):
    """The network: an encoder with dropout, then a head (BALSA, figure 1; widths from the reference's settings)."""

    hidden: tuple[int, ...] = Field(default=(32, 32, 64, 128), min_length=1)
    """Widths of the encoder's layers; every layer after the first is followed by dropout."""
    activation: Literal["relu", "none"] = "relu"
    """Between encoder layers; the paper draws ReLU, the reference code has none."""
    head_hidden: tuple[int, ...] = (64, 64)
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
    patience: int = Field(default=20, ge=1)
    """Epochs without improvement of the validation NLL before the fit stops; the best weights are restored."""
    minimum_improvement: float = Field(default=1e-4, ge=0)
    """Smallest decrease of the validation NLL, in nats, that counts as improvement."""
    warm_start: Literal["scratch", "continue", "shrink_perturb"] = "shrink_perturb"
    """Weights a refit starts from: the seed's initial ones, the last ones, or the last ones shrunk and perturbed."""


class PosteriorSpec(Parameters):
    """How disagreement between posterior draws is computed."""

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
    agent: str
    """Acquisition agent, one of the files under ``studies/regression/agents``."""
    labels: LabelProtocol = LabelProtocol()
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    posterior: PosteriorSpec = PosteriorSpec()

    @field_validator("agent")
    @classmethod
    def _known_agent(cls, name: str) -> str:
        if name not in agent_names():
            suggestion = nearest_name(name, agent_names())
            hint = f"; did you mean {suggestion!r}?" if suggestion else ""
            raise ValueError(f"unknown agent, allowed: {', '.join(agent_names())}{hint}")
        return name

    def slug(self) -> str:
        """Return data set, architecture, agent, query size and seeds."""
        return f"{self.dataset}-{self.architecture}-{self.agent}-q{self.labels.query_size}-{seed_slug(self.seeds)}"

    def dataset_names(self) -> tuple[str, ...]:
        """Return the one data set of the run."""
        return (self.dataset,)

    def resources(self) -> Resources:
        """Return one CPU thread, and time by the number of rounds: scoring dominates and is linear in them."""
        rounds = -(-self.labels.budget // self.labels.query_size)
        minutes = 20 + rounds * len(self.seeds) // 10
        return Resources(mem_mb=3000, runtime=minutes)

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if the labels asked for, or one query, exceed what the data set holds."""
        super().check(catalog)
        entry = catalog.entry(self.dataset)
        if self.labels.split == "grouped" and entry.groups is None:
            grouped = sorted(name for name, other in catalog.entries.items() if other.groups is not None)
            raise ConfigurationError(
                f"key 'labels.split': data set {self.dataset!r} has no groups to split by",
                given="grouped",
                allowed=f"random, or one of the data sets {', '.join(grouped)}",
            )
        rows = entry.rows
        pool = int(rows * (1 - self.labels.test_fraction) * (1 - self.labels.validation_fraction))
        wanted = self.labels.initial + self.labels.budget
        if wanted > pool:
            raise ConfigurationError(
                "key 'labels.budget': initial labels and budget exceed the training rows",
                given=f"{self.labels.initial} + {self.labels.budget} = {wanted}",
                allowed=f"at most {pool} of data set {self.dataset!r} ({rows} rows)",
            )
        if self.labels.query_size > min(self.labels.candidates, self.labels.budget):
            raise ConfigurationError(
                "key 'labels.query_size': one query exceeds the candidates scored or the budget",
                given=self.labels.query_size,
                allowed=f"at most {min(self.labels.candidates, self.labels.budget)}",
            )


SPEC = RegressionSpec
