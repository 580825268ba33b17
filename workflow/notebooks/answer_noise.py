# ---
# jupyter:
#   bayesgrid:
#     tables: [answer_noise]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Metrics against the noise of images
#
# The same questions with noisier and noisier images: means over seeds and their 95 % intervals. A method that knows
# what it does not know loses accuracy, and its likelihood and calibration suffer little.

# %% tags=["parameters"]
table = "results/tables/answer_noise.parquet"
output_stem = "results/figures/answer_noise"
title = ""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bayesgrid.reporting.answer_line_figure import draw_answer_noise
from bayesgrid.reporting.style import figure_style, save_figure

values = pd.read_parquet(table)
shown = values[values["quantity"] == "value"]
shown.fillna({"variant": ""}).pivot_table(
    index=["model", "dataset", "evaluation", "method", "variant"],
    columns=["metric", "noise_level"],
    values="estimate",
    sort=False,
)

# %%
with figure_style():
    save_figure(draw_answer_noise(values, title=title), Path(output_stem))
plt.show()
