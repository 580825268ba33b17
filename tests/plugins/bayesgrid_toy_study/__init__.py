"""A study of seconds, added to bayesgrid from outside through its entry point: what the workflow tests compute."""

import os
import time
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug
from bayesgrid.store.execution import RunContext, RunInputs, RunResult


class Walk(Parameters):
    """A random walk."""

    steps: int = Field(default=3, ge=1)
    scale: float = Field(default=1.0, gt=0)
    if os.environ.get("TOY_NEW_KEY"):
        drift: float = 0.0


class ToySpec(RunSpec):
    """One walk per seed."""

    study: ClassVar[str] = "toy"
    revision: ClassVar[int] = int(os.environ.get("TOY_REVISION", "1"))
    entry_point: ClassVar[str] = "bayesgrid_toy_study:run"

    method: str
    dataset: str | None = None
    walk: Walk = Walk()
    seconds_per_step: float = 0.0
    failing_attempts: int = 0
    failing_seed: int | None = None
    gpus: int = 0

    def slug(self) -> str:
        return f"toy-{self.method}-{seed_slug(self.seeds)}"

    def dataset_names(self) -> tuple[str, ...]:
        return (self.dataset,) if self.dataset else ()

    def needs(self) -> dict[str, RunSpec]:
        if self.method != "refined":
            return {}
        return {"base": ToySpec(method="base", seeds=self.seeds, walk=self.walk)}

    def resources(self, datasets: object = None, models: object = None) -> Resources:
        return Resources(mem_mb=500, runtime=5, gpu=self.gpus)


def run(spec: ToySpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Walk, with a checkpoint after every step."""
    started = time.time()
    attempts = len(list((context.state / "logs").glob("attempt-*.log")))
    if attempts <= spec.failing_attempts:
        raise MemoryError(f"attempt {attempts} was meant to run out of memory")
    if spec.failing_seed in spec.seeds and not os.environ.get("TOY_MENDED"):
        raise RuntimeError(f"seed {spec.failing_seed} was meant to fail")
    position = np.zeros(len(spec.seeds))
    first = 0
    checkpoint = context.checkpoints.latest()
    if checkpoint is not None:
        position, first = checkpoint.arrays["position"], checkpoint.step + 1
    for role, folder in inputs.needs.items():
        base = pd.read_parquet(folder / "finished" / "metrics.parquet")
        position = position + (base["value"].to_numpy() if role == "base" and first == 0 else 0.0)
    for step in range(first, spec.walk.steps):
        position = position + [spec.walk.scale * np.sin(seed + step) for seed in spec.seeds]
        time.sleep(spec.seconds_per_step)
        context.checkpoints.save(step, {"position": position}, {})
        context.tracker.log("walk", step, position=float(position[0]))
        context.raise_if_stopping()
    metrics = pd.DataFrame({"seed": list(spec.seeds), "split": "test", "metric": "position", "value": position})
    predictions = pd.DataFrame(
        {
            "seed": list(spec.seeds),
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "started": started,
            "ended": time.time(),
            "computed_from_step": first,
        }
    )
    return RunResult(metrics, predictions)


SPEC = ToySpec
