# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_reliability]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Reliability diagrams
#
# Accuracy against stated confidence in bins of equal width, with Wilson's 95 % intervals. A calibrated method lies on
# the diagonal, an overconfident one below it.

# %% tags=["parameters"]
table = "results/tables/answer_reliability.parquet"
output_stem = "results/figures/answer_reliability"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_reliability_figure import draw_answer_reliability
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "bin"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant", "temperature"],
    columns="bin",
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answer_reliability(values, title=title), Path(output_stem))
plt.show()
