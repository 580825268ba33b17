# ---
# jupyter:
#   bayesgrid:
#     tables: [agent_ranks]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Critical differences of mean ranks
#
# Each data set ranks the agents by their area under the learning curve, averaged over seeds; the axis shows mean ranks,
# the best on the left. A bar joins agents whose mean ranks differ by less than Nemenyi's critical difference. Data sets
# are the units, so a few of them tell little apart, however many seeds were run.

# %% tags=["parameters"]
table = "results/tables/demo_agent_ranks.parquet"
output_stem = "results/figures/demo_critical_difference"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.critical_difference_figure import draw_critical_differences
from bayesgrid.reporting.style import figure_style, save_figure

ranks = pd.read_parquet(table)
ranks.pivot_table(index="agent", columns="metric", values="mean_rank", sort=False)

# %%
with figure_style():
    save_figure(draw_critical_differences(ranks, title=title), Path(output_stem))
plt.show()
