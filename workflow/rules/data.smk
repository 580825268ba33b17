# Data sets and base models: obtained from their sources, checked, and put where runs read them.
for name in PLAN.datasets():
    version = PLAN.data_version(name)

    rule:
        name:
            f"prepare_{name}"
        output:
            provenance=DATA_ROOT / f"{name}-{version}" / "provenance.json",
        log:
            f"logs/prepare/{name}-{version}.log",
        localrule: True
        params:
            dataset=name,
        message:
            "prepare data set {params.dataset}"
        shell:
            "bayesgrid prepare {params.dataset} > {log} 2>&1"


for name, revision in PLAN.models().items():

    rule:
        name:
            f"prepare_{name}"
        output:
            record=MODEL_ROOT / f"{name}-{revision}" / "model.json",
        log:
            f"logs/prepare/{name}-{revision}.log",
        localrule: True
        params:
            model=name,
        message:
            "prepare base model {params.model}"
        shell:
            "bayesgrid prepare {params.model} > {log} 2>&1"
