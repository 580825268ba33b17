# One job is one run of a study: it computes, resumes or reuses, and publishes. All studies share this rule's form, so a
# study brings a rule file of its own only when its runs are chains of jobs.
def published_files(study):
    names = ["metrics.parquet", "predictions.parquet"]
    if study_specification(study).publishes_rounds:
        names.append("rounds.parquet")
    folder = f"results/runs/{study}/{{run}}"
    files = {
        Path(name).stem: ensure(f"{folder}/{name}", non_empty=True) for name in names
    }
    return {**files, "manifest": ensure(f"{folder}/manifest.json", non_empty=True)}


for study in sorted({run.study for run in PLAN.runs.values()}):

    rule:
        name:
            f"{study}_run"
        input:
            data=run_data,
            model=run_model,
            needs=needed_runs,
        output:
            **published_files(study),
        log:
            f"logs/runs/{study}/{{run}}.log",
        benchmark:
            f"results/runs/{study}/{{run}}/benchmark.tsv"
        threads: run_threads
        resources:
            mem_mb=run_memory,
            runtime=run_minutes,
            gpu=run_gpus,
            attempt=run_attempt,
        params:
            job=run_job,
        message:
            "{wildcards.run}"
        shell:
            "bayesgrid run --job {params.job:q}"
            " --attempt {resources.attempt} --wait 86400 > {log} 2>&1"
