# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_cost]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Quality and cost
#
# Metrics against the seconds that one question takes. The grey line joins the methods that no other beats in both.

# %% tags=["parameters"]
table = "results/tables/answer_cost.parquet"
output_stem = "results/figures/answer_pareto"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_pareto_figure import draw_answer_pareto
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "mean"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant", "pareto"],
    columns="metric",
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answer_pareto(values, title=title), Path(output_stem))
plt.show()
