# ---
# jupyter:
#   bayesgrid:
#     tables: [training_ablation]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Warm start and early stopping
#
# NLL against the number of labels for every way in which a refit starts (rows) and every kind of early stopping
# (columns). A curve that rises with more labels is a fault of training: the numbers are its largest rise above its best
# non-increasing fit.

# %% tags=["parameters"]
table = "results/tables/demo_training_ablation.parquet"
output_stem = "results/figures/demo_training_ablation"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.style import figure_style, save_figure
from bayesgrid.reporting.training_ablation_figure import draw_training_ablation

values = pd.read_parquet(table)
rises = values[values["quantity"] == "isotonic_violation"]
rises.pivot_table(index=[*GROUP_COLUMNS, "warm_start", "early_stopping", "agent"], columns="metric", values="estimate")

# %%
with figure_style():
    save_figure(draw_training_ablation(values, title=title), Path(output_stem))
plt.show()
