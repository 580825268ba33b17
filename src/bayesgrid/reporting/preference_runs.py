"""Which runs about preferences are compared with each other: runs by data, model and rule."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.reporting.agent_curves import AgentCurves, agent_curves
from bayesgrid.reporting.collect import RunRecord, collect_metrics, collect_rounds
from bayesgrid.reporting.names import seeds_text, state_label
from bayesgrid.reporting.preference_names import model_name, posterior_name, rule_name, settings_text
from bayesgrid.reporting.source_texts import SourceTexts

__all__ = ["CELL_COLUMNS", "DATA_COLUMNS", "ROW_COLUMNS", "PreferenceCell", "RuleRuns", "preference_cells"]

DATA_COLUMNS = ("dataset", "features", "setting")
"""The tested pairs are the same within one combination of these."""
CELL_COLUMNS = (*DATA_COLUMNS, "model", "posterior", "variant")
"""Rules are compared, and paired by seed, within one combination of these."""
ROW_COLUMNS = ("rule", "selector", "acquisition")

_NEEDED = ("dataset", "model.kind", "posterior.kind", "acquisition.rule", "acquisition.selector")
_OF_MODEL = ("model.", "posterior.", "training.")
_OF_CHOICE = "acquisition."


@dataclass(frozen=True, eq=False)
class RuleRuns:
    """The planned runs of one rule in one cell, which together hold its seeds.

    Equal only to itself, so that it can be a key although specifications cannot.
    """

    rule: str
    selector: str
    acquisition: str
    """What else tells its choice apart from that of the same rule; mostly empty."""
    runs: tuple[RunRecord, ...]

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Return the runs whose results can be read."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def state(self) -> str:
        """Return ``done``, or the states of the unfinished runs."""
        return ", ".join(dict.fromkeys(run.state for run in self.runs if not run.finished)) or "done"

    @property
    def buys_labels(self) -> bool:
        """Return whether labels are bought in rounds."""
        return any(flatten(run.spec).get("labels.initial") != "all" for run in self.runs)

    @property
    def columns(self) -> dict[str, str]:
        """Return the row's columns of a table."""
        names = {"rule": self.rule, "selector": self.selector, "acquisition": self.acquisition}
        return names | {"rule_label": self.name, "state": self.state}

    @property
    def name(self) -> str:
        """Return the printed name of the rule."""
        return rule_name(self.rule, self.selector, self.acquisition)

    @property
    def label(self) -> str:
        """Return the printed name, with the states of its runs unless all are done."""
        return self.with_state(self.name)

    def with_state(self, name: str) -> str:
        """Return ``name`` with the states of the runs unless all are done."""
        return name if self.state == "done" else f"{name} ({', '.join(map(state_label, self.state.split(', ')))})"

    def curves(self, metrics: Sequence[str]) -> AgentCurves | None:
        """Return the curves of the finished runs, or None if there is none.

        Raises:
            StateError: if a file is missing or damaged, lacks a metric, or seeds have different rounds.
        """
        if not self.finished:
            return None
        return agent_curves(collect_rounds(self.finished), metrics, where=self.runs[0].run_id, finite=False)

    def published(self, metric: str, split: str = "test") -> FloatArray:
        """Return a metric as the finished runs published it, one value a seed; empty if they did not.

        Raises:
            StateError: if a file is missing or damaged.
        """
        if not self.finished:
            return np.empty(0)
        frame = collect_metrics(self.finished)
        own = frame[(frame["metric"] == metric) & (frame["split"] == split)]
        return np.asarray(own.sort_values("seed")["value"], dtype=np.float64)


@dataclass(frozen=True)
class PreferenceCell:
    """The rules that choose pairs of the same data for the same model."""

    dataset: str
    features: str
    """Base model that reads the responses; empty where the set brings numbers of its own."""
    setting: str
    """What tells the labels and inputs apart from others of the data set."""
    model: str
    posterior: str
    variant: str
    """What tells model, posterior and training apart from others of the same kind."""
    rows: tuple[RuleRuns, ...]
    sources: SourceTexts = field(default_factory=dict, compare=False)

    @property
    def columns(self) -> dict[str, str]:
        """Return the cell's columns of a table: names, and as what they are printed."""
        names = {column: getattr(self, column) for column in CELL_COLUMNS}
        return names | self.data_columns | {"model_label": self.model_label}

    @property
    def data_columns(self) -> dict[str, str]:
        """Return the columns of a table that say what the data are."""
        names = dict(zip(DATA_COLUMNS, self.data, strict=True))
        return names | {"dataset_label": self.label("dataset", self.dataset), "data_label": self.data_label}

    @property
    def data(self) -> tuple[str, str, str]:
        """Return the values of :data:`DATA_COLUMNS`."""
        return self.dataset, self.features, self.setting

    @property
    def data_label(self) -> str:
        """Return data set, base model and setting as printed."""
        parts = [self.label("dataset", self.dataset)]
        if self.features:
            parts.append(f"read by {self.label('model', self.features)}")
        return ", ".join([*parts, *([self.setting] if self.setting else [])])

    @property
    def model_label(self) -> str:
        """Return model, posterior and variant as printed."""
        parts = (model_name(self.model), posterior_name(self.posterior), self.variant)
        return ", ".join(part for part in parts if part)

    def label(self, kind: str, name: str) -> str:
        """Return as what the ``model`` or ``dataset`` called ``name`` is printed."""
        text = self.sources.get((kind, name))
        return name.replace("_", " ") if text is None else text.label

    def reference(self, rule: str) -> RuleRuns | None:
        """Return the row of ``rule`` that others are compared with: of several the one with highest scores alone."""
        own = [row for row in self.rows if row.rule == rule]
        return next((row for row in own if row.selector == "top"), own[0] if own else None)

    def extent(self, curves: Iterable[AgentCurves]) -> str:
        """Return the labels and seeds of some curves as printed; empty for none."""
        own = list(curves)
        if not own:
            return ""
        first, last = min(c.labelled[0] for c in own), max(c.labelled[-1] for c in own)
        labels = f"{first:,} to {last:,}" if first < last else f"{last:,}"
        return f"{labels} labels · {seeds_text(len(c.seeds) for c in own)}"


def preference_cells(runs: Sequence[RunRecord]) -> list[PreferenceCell]:
    """Return the cells of ``runs`` in their order, and in each the rules in theirs.

    Raises:
        ConfigurationError: if a run is not about preferences, or two runs of a row hold the same seed.
    """
    settings = {run.run_id: {k: v for k, v in flatten(run.spec).items() if k != "seeds"} for run in runs}
    for run in runs:
        absent = [key for key in _NEEDED if not settings[run.run_id].get(key)]
        if absent:
            raise ConfigurationError(
                f"a table about preferences needs runs with {', '.join(absent)}",
                where=run.run_id,
                given=f"study {run.study!r}",
            )

    def of(run: RunRecord, *keys: str) -> tuple[str, ...]:
        return tuple(str(settings[run.run_id].get(key) or "") for key in keys)

    data = {run.run_id: of(run, "dataset", "inputs.model") for run in runs}
    setting = _told_apart(runs, settings, data, lambda key: not key.startswith((*_OF_MODEL, _OF_CHOICE)))
    data = {name: (*own, setting[name]) for name, own in data.items()}
    model = {run.run_id: (*data[run.run_id], *of(run, "model.kind", "posterior.kind")) for run in runs}
    variant = _told_apart(runs, settings, model, lambda key: key.startswith(_OF_MODEL))
    cell = {name: (*own, variant[name]) for name, own in model.items()}
    rule = {run.run_id: (*cell[run.run_id], *of(run, "acquisition.rule", "acquisition.selector")) for run in runs}
    choice = _told_apart(runs, settings, rule, lambda key: key.startswith(_OF_CHOICE))
    found: dict[tuple[str, ...], dict[tuple[str, str, str], list[RunRecord]]] = {}
    for run in runs:
        row = (*of(run, "acquisition.rule", "acquisition.selector"), choice[run.run_id])
        found.setdefault(cell[run.run_id], {}).setdefault((row[0], row[1], row[2]), []).append(run)
    sources = {key: text for run in runs for key, text in run.sources.items()}
    return [
        PreferenceCell(
            **dict(zip(CELL_COLUMNS, key, strict=True)),
            rows=tuple(_row(*names, own) for names, own in rows.items()),
            sources=sources,
        )
        for key, rows in found.items()
    ]


def _told_apart(
    runs: Sequence[RunRecord],
    settings: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, tuple[str, ...]],
    concerns: Callable[[str], bool],
) -> dict[str, str]:
    """Return for each run the values of those keys that ``concerns`` and that differ between the runs of its group."""
    members: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        members.setdefault(groups[run.run_id], []).append(run.run_id)
    named = {}
    for own in members.values():
        keys = dict.fromkeys(key for name in own for key in settings[name] if concerns(key))
        varying = [key for key in keys if len({repr(settings[name].get(key)) for name in own}) > 1]
        for name in own:
            known = [key for key in varying if key in settings[name]]
            named[name] = ", ".join(settings_text(key, settings[name][key]) for key in known)
    return named


def _row(rule: str, selector: str, acquisition: str, runs: Sequence[RunRecord]) -> RuleRuns:
    seeds = [seed for run in runs for seed in run.spec.get("seeds", ())]
    if len(set(seeds)) < len(seeds):
        raise ConfigurationError(
            f"a seed of {rule_name(rule, selector, acquisition)} is in the table twice",
            given=", ".join(run.run_id for run in runs),
            allowed="each seed of a rule once",
            remedy="use the same seed blocks in all experiments that feed the table",
        )
    return RuleRuns(rule, selector, acquisition, tuple(runs))
