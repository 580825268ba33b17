# ---
# jupyter:
#   bayesgrid:
#     tables: [preference_cyclic]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Models on preferences that go in circles
#
# Accuracy of each model on held-out pairs with its 95 % interval, beside the most that any order of the items could
# reach on these pairs: models that give every response a score cannot get beyond that line.

# %% tags=["parameters"]
table = "results/tables/demo_preference_cyclic.parquet"
output_stem = "results/figures/demo_preference_cyclic"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.preference_cyclic_figure import draw_cyclic_accuracy
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
accuracies = values[values["quantity"] == "value"]
accuracies.pivot_table(index=["model", "posterior", "variant"], columns="dataset", values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_cyclic_accuracy(values, title=title), Path(output_stem))
plt.show()
