# ---
# jupyter:
#   bayesgrid:
#     tables: [learning_curves]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Learning curves
#
# NLL, CRPS and MAE on the test rows against the number of labels: the mean over seeds and its 95 % Student-t interval.
# All agents start from the same labels, so their curves meet at the first point. One row of panels a data set,
# architecture and query size.

# %% tags=["parameters"]
table = "results/tables/demo_learning_curves.parquet"
output_stem = "results/figures/demo_learning_curves"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.learning_curve_figure import draw_learning_curves
from bayesgrid.reporting.style import figure_style, save_figure

curves = pd.read_parquet(table)
curves.groupby(list(GROUP_COLUMNS), sort=False)[["seeds", "test_rows", "labelled"]].max()

# %%
with figure_style():
    save_figure(draw_learning_curves(curves, title=title), Path(output_stem))
plt.show()
