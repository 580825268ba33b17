# ---
# jupyter:
#   bayesgrid:
#     tables: [query_size]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Query size
#
# What an agent gains over the reference agent when both buy 1, 10, 50 or 200 labels at a time: difference of the areas
# under the curves and of the final values, paired by seed, with 95 % Student-t intervals; below 0 is better.

# %% tags=["parameters"]
table = "results/tables/demo_query_size.parquet"
output_stem = "results/figures/demo_query_size"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.query_size_figure import draw_query_sizes
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
areas = values[values["quantity"] == "area_difference"]
areas.pivot_table(index=[*GROUP_COLUMNS, "agent"], columns="metric", values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_query_sizes(values, title=title), Path(output_stem))
plt.show()
