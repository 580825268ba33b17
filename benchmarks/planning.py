"""CPU seconds of planning: a dry run of the largest experiment by ids, and by reading every run from a wildcard path.

Both sides plan the same 576 runs of ``balsa_paper``: ours through the workflow, where a run is one wildcard and its
parameters are looked up in a plan made once; the other through a minimal workflow in which four axes are wildcards of
the path and each job's parameters are filtered from a pandas table, the usual form.

    python benchmarks/planning.py [--output FILE.json]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bayesgrid.grid.plan import make_plan

REPOSITORY = Path(__file__).parents[1]

WILDCARDS = """
import pandas as pd
RUNS = pd.read_csv("runs.csv")
PATH = "results/{dataset}/{architecture}/{agent}/q{query}/s{block}.parquet"
def parameters(wildcards):
    row = RUNS[(RUNS.dataset == wildcards.dataset) & (RUNS.architecture == wildcards.architecture)
               & (RUNS.agent == wildcards.agent) & (RUNS["query"] == int(wildcards.query))
               & (RUNS.block == int(wildcards.block))]
    return row.to_json()
rule all:
    input: [PATH.format(**row) for row in RUNS.to_dict("records")]
rule run:
    output: PATH
    params: job=parameters
    shell: "echo {params.job:q} > {output}"
"""


def cpu_seconds(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    plan = make_plan(REPOSITORY / "config", ["balsa_paper"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = ["dataset,architecture,agent,query,block"]
        for run in plan.runs.values():
            spec = run.spec
            lines.append(f"{spec.dataset},{spec.architecture},{spec.agent},{spec.labels.query_size},{spec.seeds[0]}")
        (folder / "runs.csv").write_text("\n".join(lines) + "\n")
        (folder / "Snakefile").write_text(WILDCARDS)
        wildcards = min(cpu_seconds(["snakemake", "-n", "-q"], folder) for _ in range(3))
    ours = min(
        cpu_seconds(["snakemake", "-n", "-q", "--nolock", "--config", "experiments=[balsa_paper]"], REPOSITORY)
        for _ in range(3)
    )
    report = {
        "runs": len(plan.runs),
        "ours_cpu_seconds": ours,
        "wildcards_cpu_seconds": wildcards,
        "ratio": wildcards / ours,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
