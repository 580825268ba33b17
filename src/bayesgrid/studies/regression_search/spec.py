"""Run specification of the hyperparameter search: one architecture on one data set, a block of random subsets."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import ModelCatalog
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug
from bayesgrid.studies.regression.spec import LabelProtocol, NetworkSpec, RegressionSpec, TrainingSpec

__all__ = ["SPEC", "Configuration", "HalvingSpec", "RecipeSpec", "RegressionSearchSpec", "SearchSpace"]

_LOOP = TrainingSpec()


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("a range is [lowest, highest], and the lowest comes first")
    return ends


_PositiveRange = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ascending)
]
_Probability = Annotated[float, Field(ge=0, lt=1)]
_ProbabilityRange = Annotated[tuple[_Probability, _Probability], AfterValidator(_ascending)]


class SearchSpace(Parameters):
    """Where configurations are drawn; the values the reference found lie in the default ranges."""

    learning_rate: _PositiveRange = Field(default=(1e-5, 1e-2), strict=False)
    """Lowest and highest; uniform in the logarithm."""
    weight_decay: _PositiveRange = Field(default=(1e-6, 1e-2), strict=False)
    """Lowest and highest; uniform in the logarithm."""
    dropout: _ProbabilityRange = Field(default=(0.0, 0.3), strict=False)
    """Lowest and highest; uniform."""


class Configuration(Parameters):
    """Values that are evaluated whatever the search draws."""

    name: str = "included"
    """What tables call them."""
    learning_rate: float = Field(gt=0)
    """Of NAdam, per step."""
    weight_decay: float = Field(ge=0)
    """Coupled L2 penalty of NAdam."""
    dropout: float = Field(ge=0, lt=1)
    """Dropout probability while training."""


class RecipeSpec(Parameters):
    """What all configurations are fitted with: the loop's recipe, from initial weights, the best ones restored."""

    batch_size: int = Field(default=_LOOP.batch_size, ge=1)
    """Examples per step; the last, smaller batch of an epoch is dropped."""
    max_epochs: int = Field(default=_LOOP.max_epochs, ge=1)
    """Epochs at most."""
    patience: int = Field(default=_LOOP.patience, ge=1)
    """Epochs without improvement of the validation NLL before a fit stops."""
    minimum_improvement: float = Field(default=_LOOP.minimum_improvement, ge=0)
    """Smallest decrease of the validation NLL, in nats, that counts as improvement."""


class HalvingSpec(Parameters):
    """Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): most configurations get few epochs only."""

    first_epochs: int | None = Field(default=None, ge=1)
    """Epochs at most for all configurations, before the first cut; none cuts nothing."""
    factor: int = Field(default=4, ge=2)
    """A cut keeps one in so many of the drawn configurations, and gives them so many times the epochs or more."""


class RegressionSearchSpec(RunSpec):
    """Many configurations of one architecture on one data set, each fitted to the same random subsets."""

    study: ClassVar[str] = "regression_search"
    revision: ClassVar[int] = 1
    entry_point: ClassVar[str] = "bayesgrid.studies.regression_search.run:run"

    dataset: str
    """Data set, as named in ``config/datasets.yaml``."""
    architecture: Literal["spline_flow", "gaussian"] = "spline_flow"
    """Predictive density: neural spline flow, or a Gaussian with learned mean and standard deviation."""
    labels: LabelProtocol = LabelProtocol()
    """As in the study ``regression``: a seed's subset has ``initial + budget`` rows, drawn at random from those that
    the loop could label; ``query_size`` and ``candidates`` have no part in a search."""
    network: NetworkSpec = NetworkSpec()
    space: SearchSpace = SearchSpace()
    configurations: int = Field(default=64, ge=1)
    """Configurations drawn from the space, the same for all seeds; more of them only add to fewer."""
    configuration_seed: int = Field(default=0, ge=0)
    """Seed of that draw."""
    include: tuple[Configuration, ...] = Field(default=(), strict=False)
    """Configurations evaluated beside those drawn and the defaults of the study ``regression``."""
    training: RecipeSpec = RecipeSpec()
    halving: HalvingSpec = HalvingSpec()

    def slug(self) -> str:
        """Return data set, architecture, configurations drawn and seeds."""
        return f"{self.dataset}-{self.architecture}-c{self.configurations}-{seed_slug(self.seeds)}"

    def dataset_names(self) -> tuple[str, ...]:
        """Return the one data set of the run."""
        return (self.dataset,)

    def resources(self, datasets: DatasetCatalog | None = None, models: ModelCatalog | None = None) -> Resources:
        """Return one CPU thread, and time by the number of fits."""
        fits = (self.configurations + len(self.include) + 1) * len(self.seeds)
        return Resources(mem_mb=2000, runtime=20 + fits // 4)

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if the data set lacks the split or the rows, or a key would have no effect."""
        first = self.halving.first_epochs
        if first is not None and first >= self.training.max_epochs:
            raise ConfigurationError(
                "key 'halving.first_epochs': nothing would be cut before the last epoch",
                given=first,
                allowed=f"less than training.max_epochs, {self.training.max_epochs}",
            )
        defaults = LabelProtocol()
        for key in ("query_size", "candidates"):
            if getattr(self.labels, key) != getattr(defaults, key):
                raise ConfigurationError(f"key 'labels.{key}': it has no effect on a search, which buys no labels")
        labels = self.labels.model_copy(update={"query_size": 1})
        RegressionSpec(dataset=self.dataset, agent="random", labels=labels, seeds=self.seeds).check(catalog)


SPEC = RegressionSearchSpec
