# ---
# jupyter:
#   bayesgrid:
#     tables: [preference_saving]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Labels saved at equal accuracy
#
# How many labels fewer than random pairs a rule needs to be as accurate, over the accuracies that random pairs reach:
# the median over seeds and its 95 % interval (bootstrap over seeds, paired).

# %% tags=["parameters"]
table = "results/tables/demo_preference_saving.parquet"
output_stem = "results/figures/demo_preference_saving"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.preference_saving_figure import draw_label_saving
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
values.pivot_table(
    index=["dataset", "model", "rule", "selector"], columns="accuracy_place", values="estimate", sort=False
)

# %%
with figure_style():
    save_figure(draw_label_saving(values, title=title), Path(output_stem))
plt.show()
