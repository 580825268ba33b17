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
# # Differences to the reference agent
#
# NLL, CRPS and MAE minus those of the reference agent, against the number of labels. Both agents of a pair share seed,
# test rows, initial labels and initial weights, so the difference leaves out what seeds have in common: it is the
# comparison to look at. Means over seeds and their 95 % Student-t intervals; below 0 is better.

# %% tags=["parameters"]
table = "results/tables/demo_learning_curves.parquet"
output_stem = "results/figures/demo_paired_differences"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.learning_curve_figure import draw_differences
from bayesgrid.reporting.style import figure_style, save_figure

curves = pd.read_parquet(table)
curves.groupby(list(GROUP_COLUMNS), sort=False)[["seeds", "test_rows", "labelled"]].max()

# %%
with figure_style():
    save_figure(draw_differences(curves, title=title), Path(output_stem))
plt.show()
