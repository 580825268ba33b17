from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import StateError
from bayesgrid.metrics.rank_tests import nemenyi_critical_difference
from bayesgrid.metrics.ranks import mean_ranks
from bayesgrid.reporting.critical_difference_figure import draw_critical_differences
from bayesgrid.reporting.figures import render_notebook
from bayesgrid.reporting.names import METRICS, agent_label
from bayesgrid.reporting.style import TWO_COLUMNS, figure_style, save_figure
from bayesgrid.reporting.tables import build_table, write_table

NOTEBOOK = Path(__file__).parents[3] / "workflow" / "notebooks" / "critical_difference.py"
AGENTS = (
    "random",
    "coreset",
    "bald_dist_entropy",
    "bald_dist_std",
    "balsa_kl_pairs",
    "balsa_kl_all_pairs",
    "balsa_kl_grid",
    "balsa_emd",
    "balsa_emd_all_pairs",
    "balsa_kl_pairs_power",
    "weighted_coreset",
    "bald_point",
    "nflows_out",
    "std",
    "entropy",
    "least_confident",
)


@pytest.fixture(autouse=True)
def _style():
    mpl.use("Agg")
    with figure_style():
        yield
    plt.close("all")


def ranks_table(agents, data_sets, *, spread=0.3, tied=False):
    rng = np.random.default_rng(agents)
    rows = []
    for metric in METRICS:
        values = rng.normal(size=(data_sets, agents)) * (not tied) + (not tied) * spread * np.arange(agents)
        for agent, rank in zip(AGENTS, mean_ranks(values, lower_is_better=True), strict=False):
            critical = nemenyi_critical_difference(agents, data_sets) if data_sets > 1 else float("nan")
            row = {"metric": metric, "agent": agent, "mean_rank": rank, "data_sets": data_sets}
            rows.append({**row, "critical_difference": critical, "friedman_p": 0.0123})
    return pd.DataFrame(rows)


def texts(figure):
    return [text for text in figure.axes[0].texts if text.get_text()]


def bars(figure):
    return [line for line in figure.axes[0].lines if line.get_linewidth() == 2.2]


@pytest.mark.parametrize("agents", range(2, 17))
@pytest.mark.parametrize(("data_sets", "tied"), [(2, False), (17, False), (4, True)])
def test_no_words_overlap_and_nothing_leaves_the_page(agents, data_sets, tied):
    figure = draw_critical_differences(ranks_table(agents, data_sets, tied=tied), title="A title")
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    touching = [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if first.overlaps(second)]
    assert touching == []
    page = figure.bbox
    assert all(box.x0 >= 0 and box.x1 <= page.x1 and box.y0 >= 0 and box.y1 <= page.y1 for _, box in boxes)
    assert figure.get_figwidth() == TWO_COLUMNS


def test_bars_on_one_level_do_not_touch():
    for agents in (8, 12, 16):
        figure = draw_critical_differences(ranks_table(agents, 40, spread=0.6))
        spans = [(line.get_ydata()[0], *sorted(line.get_xdata())) for line in bars(figure)]
        pairs = [(a, b) for a, b in combinations(spans, 2) if a[0] == b[0]]
        assert all(a[2] < b[1] or b[2] < a[1] for a, b in pairs)


def test_markers_lie_at_the_mean_ranks_and_bars_span_what_is_not_told_apart():
    table = pd.DataFrame(
        {
            "metric": "nll",
            "agent": AGENTS[:4],
            "mean_rank": [1.0, 1.5, 3.5, 4.0],
            "data_sets": 20,
            "critical_difference": 1.05,
            "friedman_p": 0.00001,
        }
    )
    figure = draw_critical_differences(table)
    ticks = {text.get_text(): text.get_position()[0] for text in texts(figure)}
    place = {rank: ticks["1"] + (ticks["4"] - ticks["1"]) * (rank - 1) / 3 for rank in (1.0, 1.5, 3.5, 4.0)}
    markers = sorted(
        line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() not in {"None", None, ""}
    )
    assert markers == pytest.approx(sorted(place.values()))
    ends = sorted(tuple(line.get_xdata()) for line in bars(figure))
    wanted = [(place[1.0], place[1.5]), (place[3.5], place[4.0])]
    assert ends == [pytest.approx((a, b), abs=0.05) for a, b in wanted]
    found = [text.get_text() for text in texts(figure)]
    assert "n = 20 data sets, 4 agents, Friedman p < 0.001" in found
    assert "critical difference 1.05" in found
    left = {text.get_text() for text in texts(figure) if text.get_ha() == "right" and "(" in text.get_text()}
    assert left == {f"{agent_label(a)} ({r:.2f})" for a, r in zip(AGENTS[:2], (1.0, 1.5), strict=True)}
    # The other metrics have no row.
    assert "CRPS, MAE: ranks need several data sets; all agents have finished on 0 data sets." in found


def test_a_critical_difference_longer_than_the_axis_says_so(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, dataset=dataset, agent=agent, test_rows=2)
        for dataset in ("a", "bb")
        for agent in AGENTS[:5]
    ]
    figure = draw_critical_differences(build_table("agent_ranks", runs).data)
    found = [text.get_text() for text in texts(figure)]
    assert sum("longer than the axis: no pair can be told apart" in text for text in found) == 3
    assert sum(text.startswith("n = 2 data sets, 5 agents") for text in found) == 3
    assert len(bars(figure)) == 3


def test_one_data_set_gives_one_line(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, test_rows=2) for agent in AGENTS[:5]]
    figure = draw_critical_differences(build_table("agent_ranks", runs).data, title="A title")
    found = [text.get_text() for text in texts(figure)]
    line = "NLL, CRPS, MAE: ranks need several data sets; all agents have finished on 1 data set."
    assert found == ["A title", line]


def test_an_empty_table_is_refused():
    with pytest.raises(StateError, match="no agent"):
        draw_critical_differences(ranks_table(4, 3).iloc[:0])


def test_files_are_the_same_twice(tmp_path):
    pictures = []
    for attempt in ("first", "second"):
        paths = save_figure(draw_critical_differences(ranks_table(6, 4)), tmp_path / attempt)
        pictures.append([path.read_bytes() for path in paths])
    assert pictures[0] == pictures[1]


def test_the_notebook_draws_the_figure(demo_runs, tmp_path):
    table = write_table(build_table("agent_ranks", demo_runs), tmp_path / "ranks")[0]
    parameters = {"table": table, "output_stem": tmp_path / "figure", "title": "Demo"}
    render_notebook(NOTEBOOK, tmp_path / "figure.ipynb", parameters)
    drawn = save_figure(draw_critical_differences(pd.read_parquet(table), title="Demo"), tmp_path / "direct")
    assert [p.read_bytes() for p in drawn] == [(tmp_path / f"figure{p.suffix}").read_bytes() for p in drawn]
