"""Per-step and per-round values as JSON lines next to the run: the source of truth that any tracker is fed from."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from bayesgrid.errors import StateError

__all__ = ["Tracker", "feed_wandb", "read_stream"]

Value = float | int | str


class Tracker:
    """Appends values to ``<folder>/<stream>.jsonl``, one line a step, flushed at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log(self, stream: str, step: int, **values: Value) -> None:
        """Append one line; a step that is logged again after a resume supersedes the earlier line when read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"step": step, "time": round(time.time(), 3), **values}, allow_nan=True)
        with (self._folder / f"{stream}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_stream(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a stream by step, the last line of a repeated step winning; a torn last line is left out.

    Raises:
        StateError: if a line other than the last is not JSON.
    """
    by_key: dict[tuple[Any, ...], dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise StateError("the line is not JSON", where=f"{path}, line {number}", given=line[:80]) from None
        by_key[entry["step"], entry.get("seed"), entry.get("member")] = entry
    return [by_key[key] for key in sorted(by_key, key=lambda key: (key[0], str(key[1])))]


def feed_wandb(
    folder: Path,
    *,
    run_id: str,
    config: dict[str, Any],
    project: str,
    mode: Literal["offline", "online"],
    directory: Path,
) -> int:
    """Replay every stream of ``folder`` to Weights & Biases under the run's own id; return the number of lines sent.

    Feeding is idempotent for the service (``resume="allow"`` with a fixed id), and nothing ever reads from it.
    """
    import wandb

    directory.mkdir(parents=True, exist_ok=True)
    sent = 0
    with wandb.init(
        project=project, id=run_id, name=run_id, config=config, mode=mode, resume="allow", dir=str(directory)
    ) as session:
        for path in _streams(folder):
            for entry in read_stream(path):
                seed = entry.get("seed")
                prefix = path.stem if seed is None else f"{path.stem}/seed-{seed}"
                axis = f"{prefix}/step"
                session.define_metric(f"{prefix}/*", step_metric=axis)
                values = {f"{prefix}/{k}": v for k, v in entry.items() if k not in {"step", "time", "seed"}}
                session.log({axis: entry["step"], **values})
                sent += 1
    return sent


def _streams(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.jsonl"))
