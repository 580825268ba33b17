# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_ablation]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What each defect changes
#
# Settings of a method that differ from the correct ones, one at a time and all at once, as paired differences with
# their 95 % intervals. A hollow dot is not significant after Holm's correction.

# %% tags=["parameters"]
table = "results/tables/answer_ablation.parquet"
output_stem = "results/figures/answer_ablation"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_dot_figure import draw_answer_ablation
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "difference"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant", "setting"],
    columns="metric",
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answer_ablation(values, title=title), Path(output_stem))
plt.show()
