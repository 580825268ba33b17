# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_metrics]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Metrics by method
#
# Every metric of every method with its 95 % interval over seeds and questions, as trained and after temperature
# scaling. Which methods differ is decided by paired differences: see the table of kind `answer_differences`.

# %% tags=["parameters"]
table = "results/tables/answer_metrics.parquet"
output_stem = "results/figures/answer_metrics_by_method"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_dot_figure import draw_answer_metrics
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "mean"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant", "temperature"],
    columns="metric",
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answer_metrics(values, title=title), Path(output_stem))
plt.show()
