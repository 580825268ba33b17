# ---
# jupyter:
#   bayesgrid:
#     tables: [preference_areas]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Areas under the curves beside random pairs
#
# The area under each learning curve minus that of random pairs, paired by seed: means and 95 % Student-t intervals, the
# best rule at the top. To the right of 0: better than random pairs.

# %% tags=["parameters"]
table = "results/tables/demo_preference_areas.parquet"
output_stem = "results/figures/demo_preference_areas"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.preference_area_figure import draw_area_differences
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
areas = values[values["quantity"] == "area_difference"]
areas.pivot_table(index=["dataset", "model", "rule", "selector"], columns="metric", values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_area_differences(values, title=title), Path(output_stem))
plt.show()
