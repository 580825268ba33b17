# Figures: a notebook, run by papermill on one table.
rule figure:
    input:
        table=figure_table,
        notebook=ancient(figure_notebook),
    output:
        svg="results/figures/{figure}.svg",
        png=report(
            "results/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        notebook="results/notebooks/{figure}.ipynb",
        html=report(
            "results/notebooks/{figure}.html",
            caption="../report/notebook.rst",
            category="Executed notebooks",
            labels={"figure": "{figure}"},
        ),
    log:
        "logs/figures/{figure}.log",
    localrule: True
    params:
        definition=figure_definition,
    message:
        "figure {wildcards.figure}"
    shell:
        "bayesgrid figure {wildcards.figure} > {log} 2>&1"
