# Entry of the workflow: what is built, in which order it is read. How it is built is in src/bayesgrid.
from snakemake.utils import min_version

min_version("9.20")


configfile: "config/config.yaml"


# Every job runs in the environment that `make` sets up; this line is for clusters that use --sdm apptainer.
container: "docker://python:3.11-slim"


include: "workflow/rules/plan.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        expand("results/tables/{table}.parquet", table=PLAN.tables),
        expand("results/figures/{figure}.png", figure=PLAN.figures),
        "results/claims.parquet",
