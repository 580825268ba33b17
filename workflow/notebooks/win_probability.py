# ---
# jupyter:
#   bayesgrid:
#     tables: [win_probability]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Win probabilities
#
# How often an agent has a lower metric than the reference agent on the same seed, at each number of labels, with
# Wilson's 95 % interval. It counts wins and not their size: one seed that went wrong weighs no more than any other.

# %% tags=["parameters"]
table = "results/tables/demo_win_probability.parquet"
output_stem = "results/figures/demo_win_probability"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.style import figure_style, save_figure
from bayesgrid.reporting.win_probability_figure import draw_win_probabilities

values = pd.read_parquet(table)
areas = values[values["quantity"] == "area"]
areas.pivot_table(index=[*GROUP_COLUMNS, "agent"], columns="metric", values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_win_probabilities(values, title=title), Path(output_stem))
plt.show()
