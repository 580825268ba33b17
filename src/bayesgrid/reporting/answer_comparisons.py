"""The comparisons in which a claim about answers is put to a test, and the rule of each verdict.

A comparison names model, data sets, methods and a metric of ``ANSWER_STATISTICS``;
:func:`~bayesgrid.reporting.answer_verdicts.judge_answers` computes it from finished evaluations. Nothing depends on
which end of a metric is better: a comparison says which value is lower. Differences are paired by seed and question,
and intervals are 95 % for new seeds and new questions (crossed bootstrap). Metrics that are published in per cent are
fractions here.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from bayesgrid.errors import did_you_mean
from bayesgrid.grid.parameters import Parameters
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS

__all__ = [
    "AnswerComparison",
    "AnswerEqual",
    "AnswerMetric",
    "AnswerOrdering",
    "AnswerRange",
    "AnswerValue",
    "Contender",
    "DataFreeWidth",
    "MetricComparison",
]


def _known_metric(name: str) -> str:
    if name not in ANSWER_STATISTICS:
        remedy = did_you_mean(name, ANSWER_STATISTICS)
        raise ValueError(f"no metric of answers: {name!r}" + (f"; {remedy}" if remedy else ""))
    return name


AnswerMetric: TypeAlias = Annotated[str, AfterValidator(_known_metric)]


class Contender(Parameters):
    """One side of a comparison; a bare name stands for a method with nothing else to say about it."""

    method: str
    """Name in the specification; ``blob_mean`` is ``blob`` that answers with its posterior mean."""
    temperature: bool = False
    """Whether its logits are scaled by the temperature fitted to the held-out labels."""
    where: dict[str, Any] = {}
    """Dotted keys of the specification and the values that its runs must have."""
    dataset: str | None = None
    """Data set it was trained on, in place of the comparison's; its questions are answered, too, unless the comparison
    names others, and are then paired with no one's."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """Return the name in findings."""
        settings = [f"{key} {value}" for key, value in self.where.items()]
        return ", ".join([self.method, *settings, *(["temperature"] if self.temperature else [])])


class MetricComparison(Parameters):
    """What all comparisons of a metric say."""

    model: str
    """Base model, as named in ``config/models.yaml``."""
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Data sets trained on; values are averaged over them, each with the same weight."""
    evaluation: str | None = None
    """Data set whose questions are answered; the one trained on by default."""

    def contenders(self) -> tuple[Contender, ...]:
        """Return the sides of the comparison."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _one_place_each(self) -> "MetricComparison":
        if len(self.datasets) > 1 and any(contender.dataset for contender in self.contenders()):
            raise ValueError("a contender with a data set of its own cannot be averaged over several")
        return self


class AnswerValue(MetricComparison):
    """A method's mean is the published number.

    Reproduced if the mean differs from it by at most ``tolerance``; within interval if its interval, widened by the
    tolerance, holds it; otherwise not reproduced.
    """

    kind: Literal["answer_value"]
    metric: AnswerMetric
    method: Contender
    number: float
    tolerance: float = Field(gt=0)

    def contenders(self) -> tuple[Contender, ...]:
        """Return the method."""
        return (self.method,)


class AnswerRange(MetricComparison):
    """A method's mean lies between two bounds, such as those around the accuracy of a guess.

    Reproduced if its whole interval does; within interval if a part of it does; not reproduced if none.
    """

    kind: Literal["answer_range"]
    metric: AnswerMetric
    method: Contender
    lowest: float | None = None
    highest: float | None = None

    @model_validator(mode="after")
    def _some_bound(self) -> "AnswerRange":
        lowest, highest = self.bounds()
        if (self.lowest is None and self.highest is None) or lowest >= highest:
            raise ValueError("a range needs a bound, and 'lowest' below 'highest'")
        return self

    def contenders(self) -> tuple[Contender, ...]:
        """Return the method."""
        return (self.method,)

    def bounds(self) -> tuple[float, float]:
        """Return both bounds, infinite where there is none."""
        infinity = float("inf")
        return (
            -infinity if self.lowest is None else self.lowest,
            infinity if self.highest is None else self.highest,
        )


class AnswerOrdering(MetricComparison):
    """Method ``lower`` has a lower value than method ``higher``, by more than ``margin``.

    Reproduced if the whole interval of the difference lies below ``-margin``; within interval if a part of it does; not
    reproduced if none. With a negative margin, ``lower`` may be higher by that much: it is no worse.
    """

    kind: Literal["answer_ordering"]
    metric: AnswerMetric
    lower: Contender
    higher: Contender
    margin: float = 0.0

    @model_validator(mode="after")
    def _two_contenders(self) -> "AnswerOrdering":
        if self.lower == self.higher:
            raise ValueError(f"{self.lower.label!r} is compared with itself")
        return self

    def contenders(self) -> tuple[Contender, ...]:
        """Return the two methods."""
        return self.lower, self.higher


class AnswerEqual(MetricComparison):
    """Two methods have the same values up to ``tolerance``.

    Reproduced if the interval of the difference lies within the tolerance for every metric; not reproduced if that of
    some metric lies outside; otherwise within interval.
    """

    kind: Literal["answer_equal"]
    metrics: Annotated[tuple[AnswerMetric, ...], Field(min_length=1)]
    methods: tuple[Contender, Contender]
    tolerance: float = Field(gt=0)

    def contenders(self) -> tuple[Contender, ...]:
        """Return the two methods."""
        return self.methods


class DataFreeWidth(Parameters):
    """A posterior is as wide as its objective makes it without any data; decided by fits, not evaluations.

    Of the ratio of the mean standard deviation to that at the end of the path without data: reproduced if its interval
    over seeds lies within ``tolerance`` of 1; within interval if a part of it does; not reproduced if none.
    """

    kind: Literal["data_free_width"]
    model: str
    """Base model, as named in ``config/models.yaml``."""
    dataset: str
    """Data set trained on."""
    method: Contender
    tolerance: float = Field(gt=0)


AnswerComparison: TypeAlias = AnswerValue | AnswerRange | AnswerOrdering | AnswerEqual | DataFreeWidth
