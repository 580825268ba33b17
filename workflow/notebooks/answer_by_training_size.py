# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_by_training_size]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Metrics against the size of the training set
#
# The same task with more and more labels: means over seeds and their 95 % intervals.

# %% tags=["parameters"]
table = "results/tables/answer_by_training_size.parquet"
output_stem = "results/figures/answer_by_training_size"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_line_figure import draw_answers_by_training_size
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "value"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant"],
    columns=["metric", "labels"],
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answers_by_training_size(values, title=title), Path(output_stem))
plt.show()
