# ---
# jupyter:
#   bayesgrid:
#     tables: [mode_comparison]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What the recipe changes
#
# The recipe of the reference code minus the corrected one, agent by agent and paired by seed, with 95 % Student-t
# intervals; below 0 the reference's is better. Kendall's tau says whether the two recipes order the agents alike.

# %% tags=["parameters"]
table = "results/tables/demo_mode_comparison.parquet"
output_stem = "results/figures/demo_mode_differences"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.mode_comparison_figure import draw_mode_differences
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
taus = values[values["quantity"] == "area_kendall_tau"]
taus.pivot_table(index=list(GROUP_COLUMNS), columns="metric", values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_mode_differences(values, title=title), Path(output_stem))
plt.show()
