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
# # The reference's recipe and the corrected one
#
# The same agents on the same data: learning curves under the corrected recipe and under that of the reference code,
# defects included. Means over seeds and their 95 % Student-t intervals; the two rows of a group share their axes.

# %% tags=["parameters"]
table = "results/tables/demo_mode_comparison.parquet"
output_stem = "results/figures/demo_mode_comparison"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.mode_comparison_figure import draw_modes
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
areas = values[values["quantity"] == "area"]
areas.pivot_table(index=[*GROUP_COLUMNS, "agent"], columns=["metric", "mode"], values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_modes(values, title=title), Path(output_stem))
plt.show()
