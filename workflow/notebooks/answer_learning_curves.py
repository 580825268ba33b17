# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_learning_curves]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Active learning
#
# Metrics after every round of buying labels: means over seeds and their 95 % Student-t intervals.

# %% tags=["parameters"]
table = "results/tables/answer_learning_curves.parquet"
output_stem = "results/figures/answer_learning_curves"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_line_figure import draw_answer_learning_curves
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "area"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant"], columns="metric", values="estimate", sort=False
)

# %%
with figure_style():
    save_figure(draw_answer_learning_curves(values, title=title), Path(output_stem))
plt.show()
