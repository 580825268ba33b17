# ---
# jupyter:
#   bayesgrid:
#     tables: [score_diagnostics]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What the scores rank by
#
# Scores that are no number or repeat another one, the part of a score that is there without any disagreement (its noise
# floor), the share of the predictive mass that its grid sees, and its correlation with aleatoric and epistemic spread.

# %% tags=["parameters"]
table = "results/tables/demo_score_diagnostics.parquet"
output_stem = "results/figures/demo_score_diagnostics"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.score_diagnostics_figure import draw_score_diagnostics
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
values.pivot_table(index=[*GROUP_COLUMNS, "agent"], columns="quantity", values="estimate", sort=False)

# %%
with figure_style():
    save_figure(draw_score_diagnostics(values, title=title), Path(output_stem))
plt.show()
