"""Which methods are compared with each other: evaluation runs by model, training set, evaluation set and method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import flatten
from bayesgrid.reporting.answer_health import (
    TEMPERATURE_AT_BOUND,
    Findings,
    few_labels_sentence,
    findings_of_runs,
    findings_text,
)
from bayesgrid.reporting.answer_names import MEAN_SUFFIX, evaluation_heading, row_label, setting_text
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.names import setting_label, state_label
from bayesgrid.reporting.source_texts import SourceTexts

__all__ = ["CELL_COLUMNS", "AnswerCell", "MethodRuns", "answer_cells", "runs_by_trial", "settings_of_run"]

CELL_COLUMNS = ("model", "dataset", "evaluation")
"""Methods are compared, and paired by seed and question, within one combination of these."""

_WITHOUT_A_POSTERIOR = frozenset({"mle", "map", "zeroshot"})
_ONE_MODE = frozenset({"mle", "zeroshot", "ivon"})
"""Methods that are the same in every mode."""
_USUAL_MODE = "correct"
_TRIAL = "evaluation.trial"


@dataclass(frozen=True, eq=False)
class MethodRuns:
    """The planned runs of one method with one set of hyperparameters, which together hold its seeds.

    Equal only to itself, so that it can be a key although specifications cannot.
    """

    method: str
    """Name in the specification, with ``_mean`` behind it for a posterior's mean."""
    variant: str
    """What tells it from other rows of its method; mostly empty."""
    runs: tuple[RunRecord, ...]

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Return the runs whose results can be read."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def finished_trials(self) -> tuple[tuple[RunRecord, ...], ...]:
        """Return the finished runs by trial: repetitions with other draws, which are no seeds of their own."""
        return runs_by_trial(self.finished)

    @property
    def state(self) -> str:
        """Return ``done``, or the states of the unfinished runs."""
        return ", ".join(dict.fromkeys(run.state for run in self.runs if not run.finished)) or "done"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the finished runs in increasing order, each once however many trials it has."""
        return tuple(sorted({int(seed) for run in self.finished for seed in run.spec.get("seeds", ())}))

    def findings(self, *, temperature: bool) -> Findings:
        """Return what is wrong with the fits of the finished runs, by kind and seeds.

        Args:
            temperature: whether a fitted temperature at the end of its search is among it.

        Raises:
            StateError: if a metrics file is damaged.
        """
        return {kind: own for kind, own in self._findings.items() if temperature or kind != TEMPERATURE_AT_BOUND}

    @cached_property
    def _findings(self) -> Findings:
        return findings_of_runs(self.finished)

    @cached_property
    def few_labels(self) -> str:
        """Return how few held-out labels the temperature of the finished runs rests on, empty where they suffice."""
        return few_labels_sentence(self.finished)

    def columns(self, *, temperature: bool = False) -> dict[str, object]:
        """Return the row's columns of a table."""
        unhealthy = findings_text(self.findings(temperature=temperature), len(self.seeds))
        return {"method": self.method, "variant": self.variant, "temperature": temperature, "unhealthy": unhealthy}

    def label(self, *, temperature: bool = False) -> str:
        """Return the printed name, with the states of its runs unless all are done."""
        name = row_label(self.method, self.variant, temperature)
        if self.state == "done":
            return name
        return f"{name} ({', '.join(map(state_label, self.state.split(', ')))})"


@dataclass(frozen=True)
class AnswerCell:
    """The methods that answer the same questions after training on the same data."""

    model: str
    dataset: str
    evaluation: str
    """Data set whose questions are answered; the training set's own, unless it is named otherwise."""
    rows: tuple[MethodRuns, ...]
    sources: SourceTexts = field(default_factory=dict, compare=False)

    @property
    def columns(self) -> dict[str, str]:
        """Return the cell's columns of a table: names, and as what they are printed."""
        names = {"model": self.model, "dataset": self.dataset, "evaluation": self.evaluation}
        kinds = {"model": "model", "dataset": "dataset", "evaluation": "dataset"}
        return names | {f"{column}_label": self.label(kinds[column], name) for column, name in names.items()}

    def label(self, kind: str, name: str) -> str:
        """Return as what the ``model`` or ``dataset`` called ``name`` is printed."""
        text = self.sources.get((kind, name))
        if text is not None:
            return text.label
        return name if kind == "model" else name.replace("_", " ")

    @property
    def heading(self) -> str:
        """Return the cell's printed name."""
        evaluation = "" if self.evaluation == self.dataset else self.label("dataset", self.evaluation)
        return evaluation_heading(self.label("model", self.model), self.label("dataset", self.dataset), evaluation)


def runs_by_trial(runs: Sequence[RunRecord]) -> tuple[tuple[RunRecord, ...], ...]:
    """Return ``runs`` by the trial in their specification, in increasing order; one without is of trial 0."""
    trials: dict[int, list[RunRecord]] = {}
    for run in runs:
        trials.setdefault(_trial(run), []).append(run)
    return tuple(tuple(own) for _, own in sorted(trials.items()))


def settings_of_run(run: RunRecord) -> dict[str, Any]:
    """Return what a run was asked for with dotted keys, without its seeds and the trial nested in them."""
    return {key: value for key, value in flatten(run.spec).items() if key not in {"seeds", _TRIAL}}


def answer_cells(runs: Sequence[RunRecord]) -> list[AnswerCell]:
    """Return the cells of ``runs`` in their order, and in each the methods in theirs.

    Runs of one method that differ in a hyperparameter are rows of their own, named by it unless its value is that of
    most of them. A mode other than ``correct`` is always named, and stands for all the values it brings along. Trials
    of one seed are one row.

    Raises:
        ConfigurationError: if a run has no model, data set or method, or two runs of a row hold the same seed.
    """
    cells: dict[tuple[str, str, str], dict[tuple[str, str], list[RunRecord]]] = {}
    for run in runs:
        settings = settings_of_run(run)
        absent = [key for key in ("model", "dataset", "method") if not settings.get(key)]
        if absent:
            raise ConfigurationError(
                f"a table about answers needs runs with {', '.join(absent)}",
                where=run.run_id,
                given=f"study {run.study!r}",
            )
        cell = (settings["model"], settings["dataset"], settings.get("evaluation.dataset") or settings["dataset"])
        mode = _USUAL_MODE if settings["method"] in _ONE_MODE else str(settings.get("mode", _USUAL_MODE))
        cells.setdefault(cell, {}).setdefault((_method(settings), mode), []).append(run)
    sources = {key: text for run in runs for key, text in run.sources.items()}
    return [
        AnswerCell(
            *cell, tuple(row for (method, mode), own in methods.items() for row in _rows(method, mode, own)), sources
        )
        for cell, methods in cells.items()
    ]


def _method(settings: Mapping[str, Any]) -> str:
    name = str(settings["method"])
    draws_nothing = settings.get("evaluation.draws") == 0 and name not in _WITHOUT_A_POSTERIOR
    return f"{name}{MEAN_SUFFIX}" if draws_nothing and not name.endswith(MEAN_SUFFIX) else name


def _rows(method: str, mode: str, runs: Sequence[RunRecord]) -> list[MethodRuns]:
    settings = [settings_of_run(run) for run in runs]
    distinct = list({repr(sorted(own.items())): own for own in settings}.values())
    keys = dict.fromkeys(key for own in distinct for key in own)
    values = {key: [repr(own.get(key)) for own in distinct] for key in keys if key != "mode"}
    varying = [key for key, own in values.items() if len(set(own)) > 1]
    usual = {key: max(values[key], key=values[key].count) for key in varying}
    # What most have goes without saying; of two halves neither does.
    unsaid = {key: value for key, value in usual.items() if 2 * values[key].count(value) > len(distinct)}
    last = [key.rpartition(".")[2] for key in varying]
    # "steps" alone will do unless two groups have one.
    names = [name if last.count(name) == 1 else key for key, name in zip(varying, last, strict=True)]
    found: dict[str, list[RunRecord]] = {}
    for run, own in zip(runs, settings, strict=True):
        parts = [
            setting_text(name, own[key])
            for key, name in zip(varying, names, strict=True)
            if key in own and repr(own[key]) != unsaid.get(key)
        ]
        variant = ", ".join(([] if mode == _USUAL_MODE else [setting_label(mode)]) + parts)
        found.setdefault(variant, []).append(run)
    for variant, own_runs in found.items():
        seeds = [(seed, _trial(run)) for run in own_runs for seed in run.spec.get("seeds", ())]
        if len(set(seeds)) < len(seeds):
            raise ConfigurationError(
                f"a seed of {row_label(method, variant, False)} is in the table twice",
                given=", ".join(run.run_id for run in own_runs),
                allowed="each seed of a method once",
                remedy="use the same seed blocks in all experiments that feed the table",
            )
    return [MethodRuns(method, variant, tuple(own_runs)) for variant, own_runs in found.items()]


def _trial(run: RunRecord) -> int:
    return int(flatten(run.spec).get(_TRIAL) or 0)
