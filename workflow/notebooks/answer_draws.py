# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_draws]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # How many draws are enough
#
# Metrics when only some of the stored draws of a posterior are averaged. Methods without a posterior have a single
# point.

# %% tags=["parameters"]
table = "results/tables/answer_draws.parquet"
output_stem = "results/figures/answer_draws"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_line_figure import draw_answer_draws
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "value"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant"],
    columns=["metric", "draws"],
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answer_draws(values, title=title), Path(output_stem))
plt.show()
