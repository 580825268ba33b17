"""One row a run: its cost, machine and code. It changes with the machine, so its bytes are never compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bayesgrid.errors import ConfigurationError
from bayesgrid.reporting.collect import RunRecord, collect_manifests, collect_rounds
from bayesgrid.reporting.names import state_label
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["run_overview"]

_COLUMNS = {
    "run_id": "str",
    "study": "str",
    "state": "str",
    "seeds": "Int64",
    "rounds": "Int64",
    "wall_seconds": "float64",
    "peak_memory_mb": "float64",
    "attempt": "Int64",
    "git_commit": "str",
    "host": "str",
}


def run_overview(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return seeds, rounds, wall time, peak memory and git commit of every run.

    Raises:
        ConfigurationError: for any option; the table has none.
        StateError: if a manifest or the rounds of a finished run are missing or damaged.
    """
    if options:
        raise ConfigurationError("the table has no options", given=", ".join(options))
    manifests = collect_manifests([run for run in runs if run.finished])
    rows = [_row(run, manifests.get(run.run_id)) for run in runs]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    shown = tuple(tuple(Cell(text) for text in _shown(row)) for row in rows)
    columns = ("Run", "State", "Seeds", "Rounds", "Wall time (s)", "Peak memory (MB)", "Commit")
    notes = ("Wall time and memory of the attempt that finished; a commit with + had uncommitted changes.",)
    return Table(frame, columns, (Section("", shown),), "Runs: cost and origin", notes)


def _row(run: RunRecord, manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_id": run.run_id,
        "study": run.study,
        "state": run.state,
        "seeds": len(run.spec.get("seeds", ())),
    }
    if manifest is None:
        return row
    code = manifest.get("code") or {}
    commit = (code.get("commit") or "")[:12]
    has_rounds = (run.folder / "rounds.parquet").is_file()
    return {
        **row,
        "rounds": collect_rounds([run]).groupby("seed").size().max() if has_rounds else None,
        "wall_seconds": manifest.get("wall_seconds"),
        "peak_memory_mb": manifest.get("peak_memory_mb"),
        "attempt": manifest.get("attempt"),
        "git_commit": commit + ("+" if code.get("changes") else "") if commit else None,
        "host": (manifest.get("machine") or {}).get("host"),
    }


def _shown(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["state"] != "done":
        return (row["run_id"], state_label(row["state"]), str(row["seeds"]), "", "", "", "")

    def text(key: str, form: str) -> str:
        value = row.get(key)
        return "—" if value is None else format(value, form)

    return (
        row["run_id"],
        "done",
        str(row["seeds"]),
        text("rounds", "d"),
        text("wall_seconds", ",.1f"),
        text("peak_memory_mb", ",.0f"),
        row.get("git_commit") or "—",
    )
