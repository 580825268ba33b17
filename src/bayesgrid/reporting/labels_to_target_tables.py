"""The table of labels to target: how many labels each agent needs to be as good as the reference is at its end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.metrics.labels_to_target import labels_to_target, paired_label_ratio, smoothed_mean_curve
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord
from bayesgrid.reporting.grouped_curves import (
    GroupOfAgents,
    checked_options,
    few_seeds_notes,
    grouped_curves,
    partial_notes,
    reference_notes,
)
from bayesgrid.reporting.names import agent_label, agent_with_state, metric_label, seeds_text
from bayesgrid.reporting.table import Cell, Section, Table, number

__all__ = ["labels_to_target_table"]

TARGET_METRICS = ("nll", "mae_median")
REPLICATES = 1000

_REALS = ("target", "labels", "reference_labels", "ratio", "lower", "upper", "censored_share")
_DATA_COLUMNS = [*GROUP_COLUMNS, "agent", "metric", "reference", *_REALS, "censored", "finite", "seeds", "state"]


def labels_to_target_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the labels needed to reach the reference agent's final NLL and MAE, and their ratio to the reference's.

    Curves are means over the seeds that both agents have, smoothed to be monotone.

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = str(checked_options(options, {"reference_agent": "random"})["reference_agent"])
    rows: list[dict[str, Any]] = []
    sections = []
    groups = grouped_curves(runs, TARGET_METRICS)
    for group in groups:
        records = {
            (agent, metric): {**group.cell, "agent": agent, "metric": metric, "state": state, "reference": reference}
            | _record(group, agent, metric, reference)
            for agent, state in group.states.items()
            for metric in TARGET_METRICS
        }
        rows += records.values()
        shown = tuple(
            (
                Cell(agent_with_state(agent, state)),
                *(Cell(text) for m in TARGET_METRICS for text in _texts(records[agent, m], agent == reference)),
            )
            for agent, state in group.states.items()
        )
        sections.append(Section(_heading(group, list(records.values()), reference), shown))
    label = agent_label(reference)
    notes = [
        f"Labels: the first number at which the mean over seeds, smoothed to be monotone, is as good as that of "
        f"{label} after its last query; a straight line between rounds. > : not reached within the budget.",
        f"Ratio: labels over those of {label}, which may reach its own final value before its budget ends, with the "
        f"95 % interval (bootstrap over seeds, paired, the target drawn anew; {REPLICATES:,} resamples). Below 1: "
        "fewer labels. With few seeds such an interval covers less than 95 %.",
        "Censored: share of resamples in which the agent does not reach the target.",
        *few_seeds_notes((row["seeds"] for row in rows), "the intervals of ratios"),
        *reference_notes(groups, reference),
    ]
    if any(row["finite"] is False for row in rows):
        notes.append("No number where the curve of the agent or of the reference has values that are not finite.")
    if any(group_row["seeds"] == 1 for group_row in rows):
        notes.append("A single seed has no interval.")
    if any(row["seeds"] == 0 and row["state"] == "done" for row in rows):
        notes.append(f"No number where no seed with the same numbers of labels is finished for {label}.")
    frame = pd.DataFrame(rows, columns=_DATA_COLUMNS)
    types = {"query_size": "Int64", "seeds": "Int64", "censored": "boolean", "finite": "boolean"}
    columns = (
        "Agent",
        *(f"{name} {metric_label(m)}" for m in TARGET_METRICS for name in ("Labels", "Ratio", "Censored")),
    )
    return Table(
        frame.astype({**types, **dict.fromkeys(_REALS, "float64")}),
        columns,
        tuple(sections),
        f"Active learning: labels needed to reach the final value of {label}",
        (*notes, *partial_notes(runs)),
    )


def _record(group: GroupOfAgents, agent: str, metric: str, reference: str) -> dict[str, Any]:
    blank: dict[str, Any] = {**dict.fromkeys(_REALS, math.nan), "censored": None, "finite": None, "seeds": 0}
    own, other = group.curves.get(agent), group.curves.get(reference)
    if own is None or other is None or own.labelled != other.labelled:
        return blank
    seeds = [seed for seed in own.seeds if seed in other.seeds]
    if not seeds:
        return blank
    first, base = (curves.of_seeds(seeds).by_metric[metric] for curves in (own, other))
    known = bool(np.isfinite(first).all() and np.isfinite(base).all())
    blank |= {"finite": known, "seeds": len(seeds)}
    if not known:
        return blank
    target = float(smoothed_mean_curve(base, lower_is_better=True)[-1])
    of_agent, of_reference = (
        labels_to_target(own.labelled, curves, target, lower_is_better=True) for curves in (first, base)
    )
    record = blank | {
        "target": target,
        "labels": of_agent.labels,
        "reference_labels": of_reference.labels,
        "ratio": of_agent.labels / of_reference.labels,
        "censored": of_agent.censored,
    }
    if len(seeds) < 2 or agent == reference:
        return record
    compared = paired_label_ratio(
        own.labelled,
        first,
        base,
        lower_is_better=True,
        generator=random_stream(0, "table_interval"),
        level=LEVEL,
        replicates=REPLICATES,
    )
    interval = compared.interval
    return record | {"lower": interval.lower, "upper": interval.upper, "censored_share": compared.first_censored}


def _texts(record: Mapping[str, Any], is_reference: bool) -> tuple[str, str, str]:
    if math.isnan(record["labels"]):
        return "—", "—", "—"
    beyond = "> " if record["censored"] else ""
    labels = f"{beyond}{record['labels']:,.0f}"
    if is_reference:
        return labels, "1", ""
    ratio = beyond + number(record["ratio"], 2)
    if math.isinf(record["upper"]):
        ratio += f" (at least {number(record['lower'], 2)})"
    elif not math.isnan(record["lower"]):
        ratio += f" ({number(record['lower'], 2)} to {number(record['upper'], 2)})"
    share = record["censored_share"]
    return labels, ratio, "—" if math.isnan(share) else f"{100 * share:.0f} %"


def _heading(group: GroupOfAgents, records: Sequence[Mapping[str, Any]], reference: str) -> str:
    seeds = seeds_text(record["seeds"] for record in records if record["seeds"])
    if not seeds:
        return group.heading
    targets = {r["metric"]: r["target"] for r in records if r["agent"] == reference and not math.isnan(r["target"])}
    parts = [f"target {metric_label(metric)} {number(target, 4)}" for metric, target in targets.items()]
    return " · ".join([group.heading, seeds, *parts])
