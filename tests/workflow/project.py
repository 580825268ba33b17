"""A temporary project: the repository's workflow with experiments and settings of the test's own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PLUGINS = REPOSITORY / "tests" / "plugins"

EXPERIMENT = """study: toy
title: toy
seeds: {seeds}
seed_block: {seed_block}
grid: {{method: {methods}, walk.scale: {scales}}}
set: {values}
used_in:
  tables: {{toy_overview: {{kind: run_overview}}}}
"""


class Project:
    """Writes configuration into ``folder`` and runs snakemake and bayesgrid there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(PLUGINS),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        for variable in ("BAYESGRID_MIRROR", "BAYESGRID_STATE_ROOT", "BAYESGRID_PROJECT", "BAYESGRID_SETTINGS"):
            self.environment.pop(variable, None)

    def copy_workflow(self) -> "Project":
        """Copy what the workflow consists of, and set up the toy experiment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "Snakefile", self.folder)
        shutil.copytree(REPOSITORY / "workflow", self.folder / "workflow", dirs_exist_ok=True)
        (self.folder / "slurm").symlink_to("workflow/profiles/slurm")
        (self.folder / "config" / "experiments" / "toy").mkdir(parents=True)
        (self.folder / "config" / "presets").mkdir()
        for name in ("datasets.yaml", "claims.yaml"):
            shutil.copy(REPOSITORY / "config" / name, self.folder / "config")
        self.write("config/config.yaml", "experiments: [toy]\n")
        self.write("config/paper.yaml", "experiments: [toy]\n")
        self.experiment()
        return self

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.write_text(text)
        return path

    def experiment(
        self,
        *,
        methods: str = "[a, b]",
        scales: str = "[1.0, 2.0]",
        seeds: str = "0-1",
        seed_block: int = 2,
        values: str = "{}",
    ) -> None:
        """Write the toy experiment."""
        text = EXPERIMENT.format(methods=methods, scales=scales, seeds=seeds, seed_block=seed_block, values=values)
        self.write("config/experiments/toy/toy.yaml", text)

    def run(self, *command: str, check: bool = True, timeout: int = 300, **variables: str) -> str:
        """Run a command in the project and return what it printed on both streams."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout[-6000:]
        else:
            assert done.returncode != 0, done.stdout[-6000:]
        return done.stdout

    def snakemake(self, *arguments: str, profile: str = "workflow/profiles/local", **options) -> str:
        """Run snakemake with the local profile."""
        return self.run("snakemake", *arguments, "--profile", profile, **options)

    def jobs(self, *arguments: str, **options) -> dict[str, int]:
        """Return how many jobs of each rule a dry run would start, ``all`` left out."""
        printed = self.snakemake(*arguments, "-n", **options)
        if "Nothing to be done" in printed:
            return {}
        stats = printed[printed.index("Job stats:") :]
        counts = {name: int(count) for name, count in re.findall(r"^(\S+)\s+(\d+)$", stats, flags=re.MULTILINE)}
        return {name: count for name, count in counts.items() if name not in {"total", "all"}}

    def published(self, name: str = "metrics.parquet") -> dict[str, bytes]:
        """Return the bytes of one published file of every run."""
        return {path.parent.name: path.read_bytes() for path in (self.folder / "results" / "runs").glob(f"*/*/{name}")}
