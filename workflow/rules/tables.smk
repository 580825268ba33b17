# Tables and the ledger of claims, from published results alone.
rule table:
    input:
        runs=table_runs,
    output:
        parquet="results/tables/{table}.parquet",
        csv="results/tables/{table}.csv",
        markdown="results/tables/{table}.md",
        latex="results/tables/{table}.tex",
        html=report(
            "results/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "logs/tables/{table}.log",
    localrule: True
    params:
        definition=table_definition,
    message:
        "table {wildcards.table}"
    shell:
        "bayesgrid table {wildcards.table} > {log} 2>&1"


rule claims:
    input:
        ledger=ancient(project_file("config/claims.yaml")),
        runs=[published(name, "manifest.json") for name in PLAN.runs],
    output:
        parquet="results/claims.parquet",
        csv="results/claims.csv",
        markdown="results/claims.md",
        latex="results/claims.tex",
        html=report(
            "results/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "published numbers"},
        ),
    log:
        "logs/claims.log",
    localrule: True
    params:
        runs=canonical_json(sorted(PLAN.runs)),
        ledger=checksum(PROJECT / "config" / "claims.yaml"),
    message:
        "claims"
    shell:
        "bayesgrid claims > {log} 2>&1"


rule partial:
    log:
        "logs/partial.log",
    localrule: True
    params:
        tables=list(PLAN.tables),
    message:
        "tables of what is finished, with holes for the rest, in results/partial"
    shell:
        "for table in {params.tables}; do"
        ' bayesgrid table "$table" --partial;'
        " done > {log} 2>&1"
