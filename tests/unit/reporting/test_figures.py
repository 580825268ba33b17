import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from PIL import Image

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.reporting.figures import render_notebook
from bayesgrid.reporting.mode_comparison_figure import draw_mode_differences, draw_modes
from bayesgrid.reporting.query_size_figure import draw_query_sizes
from bayesgrid.reporting.score_diagnostics_figure import draw_score_diagnostics
from bayesgrid.reporting.style import figure_style, save_figure
from bayesgrid.reporting.tables import build_table, write_table
from bayesgrid.reporting.training_ablation_figure import draw_training_ablation
from bayesgrid.reporting.win_probability_figure import draw_win_probabilities

NOTEBOOKS = Path(__file__).parents[3] / "workflow" / "notebooks"

CELLS = """# %% tags=["parameters"]
number = 1
word = "a"

# %%
import sys
print(number * 2, word, sys.executable)
"""


def written(tmp_path, text):
    path = tmp_path / "notebook.py"
    path.write_text(text)
    return path


def outputs(path):
    cells = json.loads(path.read_text())["cells"]
    return "".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))


def test_parameters_reach_the_notebook_which_runs_in_this_interpreter(tmp_path):
    import sys

    source = written(tmp_path, CELLS)
    notebook, page = render_notebook(source, tmp_path / "out" / "done.ipynb", {"number": 21, "word": Path("b/c")})
    assert outputs(notebook).split() == ["42", "b/c", sys.executable]
    assert "42 b/c" in page.read_text()
    assert {path.name for path in notebook.parent.iterdir()} == {"done.ipynb", "done.html"}


def test_a_failing_cell_is_an_error_and_the_notebook_up_to_it_is_kept(tmp_path):
    source = written(tmp_path, CELLS + "\n# %%\nraise KeyError('gone')\n")
    with pytest.raises(StateError, match=r"KeyError: 'gone'.*done\.failed\.ipynb"):
        render_notebook(source, tmp_path / "done.ipynb", {"number": 3})
    assert not (tmp_path / "done.ipynb").exists()
    assert "6 a" in outputs(tmp_path / "done.failed.ipynb")


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        (CELLS, {"numbr": 1}, "no parameter numbr"),
        ("# %%\nnumber = 1\n", {"number": 1}, "cell tagged parameters"),
        (None, {}, "does not exist"),
    ],
)
def test_notebooks_that_cannot_take_the_parameters_are_configuration_errors(tmp_path, text, parameters, message):
    source = tmp_path / "missing.py" if text is None else written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message):
        render_notebook(source, tmp_path / "done.ipynb", parameters)


@pytest.mark.parametrize("name", ["learning_curves", "paired_differences"])
def test_a_figure_is_drawn_the_same_twice(demo_runs, tmp_path, name):
    table = write_table(build_table("learning_curves", demo_runs), tmp_path / "curves")[0]
    for attempt in ("first", "second"):
        parameters = {"table": table, "output_stem": tmp_path / attempt, "title": "Demo"}
        render_notebook(NOTEBOOKS / f"{name}.py", tmp_path / f"{attempt}.ipynb", parameters)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.width == 2070
        assert picture.height > 900


@pytest.mark.parametrize(
    ("name", "kind", "draw"),
    [
        ("win_probability", "win_probability", draw_win_probabilities),
        ("query_size", "query_size", draw_query_sizes),
        ("training_ablation", "training_ablation", draw_training_ablation),
        ("score_diagnostics", "score_diagnostics", draw_score_diagnostics),
        ("mode_comparison", "mode_comparison", draw_modes),
        ("mode_differences", "mode_comparison", draw_mode_differences),
    ],
)
def test_the_notebook_of_a_figure_draws_it(synthetic, tmp_path, name, kind, draw):
    runs = [
        synthetic.make_run(tmp_path, agent=agent, mode=mode, early_stopping="restore_best", scores=True, test_rows=2)
        for mode in (("corrected", "faithful") if kind == "mode_comparison" else ("corrected",))
        for agent in ("random", "coreset", "balsa_kl_pairs")
    ]
    table = write_table(build_table(kind, runs), tmp_path / "table")[0]
    parameters = {"table": table, "output_stem": tmp_path / "drawn", "title": "A title"}
    render_notebook(NOTEBOOKS / f"{name}.py", tmp_path / "drawn.ipynb", parameters)
    mpl.use("Agg")
    with figure_style():
        direct = save_figure(draw(pd.read_parquet(table), title="A title"), tmp_path / "direct")
    plt.close("all")
    assert [p.read_bytes() for p in direct] == [(tmp_path / f"drawn{p.suffix}").read_bytes() for p in direct]
