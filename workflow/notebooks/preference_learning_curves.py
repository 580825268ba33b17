# ---
# jupyter:
#   bayesgrid:
#     tables: [preference_curves]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Learning curves of preference models
#
# A metric on the test pairs against the number of labels: the mean over seeds and its 95 % Student-t interval. Random
# pairs are the baseline, in grey; where responses are texts, the dotted line is that of preferring the longer one.

# %% tags=["parameters"]
table = "results/tables/demo_preference_curves.parquet"
output_stem = "results/figures/demo_preference_curves"
title = ""
metric = "accuracy"

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.preference_curve_figures import draw_preference_curves
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
last = values[(values["quantity"] == "value") & (values["metric"] == metric)]
last = last[last["labelled"] == last.groupby("dataset")["labelled"].transform("max")]
last.pivot_table(index=["dataset", "rule", "selector"], columns=["model", "posterior"], values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_preference_curves(values, metric=metric, title=title), Path(output_stem))
plt.show()
