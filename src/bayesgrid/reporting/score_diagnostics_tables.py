"""The table of score diagnostics: what an agent's scores rank by, and what of them is noise, ties or not a number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.reporting.agent_curves import interval_over_seeds
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord, collect_rounds
from bayesgrid.reporting.grouped_curves import checked_options, grouped_runs, partial_notes
from bayesgrid.reporting.names import agent_with_state, seeds_text
from bayesgrid.reporting.table import Cell, Section, Table, number, number_with_interval

__all__ = ["DEFINITIONS", "DIAGNOSTICS", "RANGES", "score_diagnostics_table"]

DIAGNOSTICS = {
    "nonfinite_share": "Not finite",
    "tie_share": "Ties",
    "noise_floor": "Noise floor",
    "grid_coverage": "Grid coverage",
    "aleatoric_correlation": "Aleatoric ρ",
    "epistemic_correlation": "Epistemic ρ",
    "batch_similarity": "Batch cosine",
    "distinct_masks": "Distinct masks",
}
"""Quantities of the table and their printed names."""

RANGES = {
    **dict.fromkeys(("nonfinite_share", "tie_share", "grid_coverage"), (0.0, 1.0)),
    **dict.fromkeys(("aleatoric_correlation", "epistemic_correlation", "batch_similarity"), (-1.0, 1.0)),
}
"""The values that are possible; a t interval over few seeds goes beyond them and is cut there."""

DEFINITIONS = (
    "Not finite, ties: share of the candidates whose score is no finite number, or repeats another one. Noise floor: "
    "mean score of identical draws over the mean score; 0 for an exact score. Grid coverage: predictive probability "
    "inside the score's grid. Aleatoric, epistemic ρ: Spearman's correlation of the scores with the predictive "
    "standard deviation, and with the spread of the draws' means. Batch cosine: mean cosine between the network's "
    "encodings of two examples bought together, centred by the candidates; near 1 for a redundant batch, near 0 for "
    "unrelated examples. Distinct masks: how many of the posterior's dropout masks differ; repeated ones add no "
    "disagreement."
)

_COLUMN_OF = {
    "nonfinite_share": "score_nonfinite",
    "tie_share": "score_ties",
    "noise_floor": "score_noise_floor",
    "grid_coverage": "grid_coverage",
    "aleatoric_correlation": "score_aleatoric_correlation",
    "epistemic_correlation": "score_epistemic_correlation",
    "batch_similarity": "batch_similarity",
    "distinct_masks": "distinct_masks",
}
_SHARES = ("nonfinite_share", "tie_share")
_COLUMNS = {
    **dict.fromkeys(GROUP_COLUMNS, "str"),
    "query_size": "Int64",
    "agent": "str",
    "quantity": "str",
    "estimate": "float64",
    "lower": "float64",
    "upper": "float64",
    "seeds": "Int64",
    "rounds": "Int64",
    "state": "str",
}


def score_diagnostics_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the diagnostics of every agent: means over rounds, then over seeds, with intervals over seeds.

    Shares are of the candidates scored: the column ``score_candidates``, or where a run has none ``labels.candidates``,
    which a small pool may not fill. A diagnostic that a run did not record is left out.

    Raises:
        ConfigurationError: for any option; the table has none.
        StateError: if a result file is missing or damaged.
    """
    checked_options(options, {})
    done = [run for run in runs if run.finished]
    rounds = collect_rounds(done) if done else pd.DataFrame(columns=["run_id", "seed"])
    limits = {run.run_id: flatten(run.spec).get("labels.candidates", np.nan) for run in done}
    needed = ["score_candidates", "score_median", *_COLUMN_OF.values()]
    rounds = rounds.reindex(columns=list(dict.fromkeys([*rounds.columns, *needed])))
    candidates = rounds["score_candidates"].astype("float64").fillna(rounds["run_id"].map(limits).astype("float64"))
    # An agent without scores counts candidates without features, which is something else.
    scored = rounds["score_median"].notna() | (rounds["score_nonfinite"] > 0)
    for quantity, column in _COLUMN_OF.items():
        values = rounds[column].astype("float64")
        rounds[quantity] = (values / candidates).where(scored) if quantity in _SHARES else values
    rows: list[dict[str, Any]] = []
    sections = []
    for group in grouped_runs(runs):
        shown = []
        for agent, members in group.members.items():
            own = rounds[rounds["run_id"].isin([run.run_id for run in members if run.finished])]
            shared = {**group.cell, "agent": agent, "state": group.states[agent]}
            records = {quantity: _record(own, quantity) for quantity in DIAGNOSTICS}
            known = {quantity: record for quantity, record in records.items() if record["seeds"]}
            rows += [{**shared, "quantity": quantity, **record} for quantity, record in known.items()]
            if not known:
                rows.append({**shared, "seeds": 0})
            texts = [_text(quantity, records[quantity]) for quantity in DIAGNOSTICS]
            shown.append(tuple(map(Cell, (agent_with_state(agent, group.states[agent]), *texts))))
        counts = [row["seeds"] for row in rows if row["seeds"] and all(row[k] == v for k, v in group.cell.items())]
        heading = " · ".join(part for part in (group.heading, seeds_text(counts)) if part)
        sections.append(Section(heading, tuple(shown)))
    notes = (
        "Means over rounds, then over seeds. In brackets: the 95 % Student-t interval of the mean over seeds, cut at "
        "the ends of what is possible (shares, coverage 0 to 1; ρ, cosine −1 to 1); elsewhere ±: its half-width.",
        DEFINITIONS,
        "A dash: no scores, or not recorded.",
        *partial_notes(runs),
    )
    data = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    columns = ("Agent", *DIAGNOSTICS.values())
    return Table(data, columns, tuple(sections), "Active learning: what the scores rank by", notes)


def _record(rounds: pd.DataFrame, quantity: str) -> dict[str, Any]:
    known = rounds[["seed", quantity]].dropna()
    by_seed: FloatArray = known.groupby("seed")[quantity].mean().to_numpy(dtype=np.float64)
    if by_seed.size == 0:
        return {"seeds": 0}
    interval = interval_over_seeds(by_seed)
    least, largest = RANGES.get(quantity, (-np.inf, np.inf))
    # A NaN end stays one.
    ends = {"lower": float(np.maximum(interval.lower, least)), "upper": float(np.minimum(interval.upper, largest))}
    most = int(known.groupby("seed").size().max())
    return {"estimate": interval.estimate, **ends, "seeds": by_seed.size, "rounds": most}


def _text(quantity: str, record: Mapping[str, Any]) -> str:
    if not record["seeds"]:
        return "—"
    if quantity in RANGES and not np.isnan(record["lower"]):
        ends = " to ".join(number(record[end], 3) for end in ("lower", "upper"))
        return f"{number(record['estimate'], 3)} ({ends})"
    digits = 1 if abs(record["estimate"]) > 1.5 else 3
    return number_with_interval(record["estimate"], record["lower"], record["upper"], digits)
