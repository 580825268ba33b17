# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_risk_coverage]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Risk and coverage
#
# How many answers are wrong when only the most confident ones are given. A method whose confidence says which answers
# are right falls steeply to the left.

# %% tags=["parameters"]
table = "results/tables/answer_risk_coverage.parquet"
output_stem = "results/figures/answer_risk_coverage"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_line_figure import draw_answer_risk_coverage
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "area"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant"], columns="metric", values="estimate", sort=False
)

# %%
with figure_style():
    save_figure(draw_answer_risk_coverage(values, title=title), Path(output_stem))
plt.show()
