"""Tables and presets of hyperparameter searches whose losses are known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.grid.experiments import Preset
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.grid.yaml_files import read_yaml
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.hyperparameter_presets import hyperparameter_preset
from bayesgrid.reporting.hyperparameter_tables import ranked_configurations
from bayesgrid.reporting.tables import build_table, render_partial

ORIGINS = ("drawn",) * 7 + ("defaults", "included")
RATES = (2e-4, 1e-5, 3e-3, 1.23456e-05, 5e-3, 6e-3, 7e-3, 1e-3, 4e-4)


def losses_of(seeds: range) -> np.ndarray:
    """``[9, S]``: configuration 3 is best, 8 second; 7, the defaults, is last of all but 6."""
    level = np.array([0.5, 0.6, 0.4, -0.3, 0.45, 0.55, 0.9, 0.8, -0.1])
    rng = np.random.default_rng(5)
    noise = rng.normal(scale=0.05, size=(9, 20))
    return (level[:, None] + noise)[:, list(seeds)]


def make_search(
    root: Path,
    *,
    dataset: str = "diamonds",
    architecture: str = "spline_flow",
    seeds: range = range(4),
    losses: np.ndarray | None = None,
    allowed: tuple[int, ...] = (200,) * 9,
    batch_size: int = 16,
    study: str = "regression_search",
    state: str = "done",
) -> RunRecord:
    identity = f"{dataset}-{architecture}-b{batch_size}-s{seeds[0]}-{seeds[-1]}"
    folder = root / "runs" / study / identity
    if state == "done":
        folder.mkdir(parents=True)
        values = losses_of(seeds) if losses is None else losses
        records = [
            {
                "seed": seed,
                "configuration": number,
                "name": {"defaults": "defaults", "included": "reference"}.get(origin, str(number)),
                "origin": origin,
                "learning_rate": RATES[number],
                "weight_decay": 1e-4 * number,
                "dropout": 0.01 * number,
                "validation_nll": values[number, place],
                "epochs": 50 + number,
                "allowed": allowed[number],
                "stopped_at": 40,
            }
            for place, seed in enumerate(seeds)
            for number, origin in enumerate(ORIGINS)
        ]
        pd.DataFrame(records).to_parquet(folder / "predictions.parquet", index=False)
    spec = {
        "dataset": dataset,
        "architecture": architecture,
        "seeds": list(seeds),
        "labels": {"initial": 200, "budget": 800, "query_size": 50},
        "training": {"batch_size": batch_size},
    }
    return RunRecord(identity, study, spec, folder, ("search",), state)


def test_ranks_means_and_intervals_are_those_of_scipy(tmp_path):
    losses = losses_of(range(6))
    blocks = [make_search(tmp_path, seeds=range(4)), make_search(tmp_path, seeds=range(4, 6))]
    table = build_table("hyperparameters", blocks)
    data = table.data.set_index("configuration")
    assert data["rank"].to_dict() == dict(enumerate(stats.rankdata(losses.mean(axis=1)).astype(int)))
    for number in range(9):
        for values, names in [
            (losses[number], ("validation_nll", "lower", "upper")),
            (losses[number] - losses[7], ("difference", "difference_lower", "difference_upper")),
        ]:
            if number == 7 and names[0] == "difference":
                continue
            interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            found = data.loc[number, list(names)].to_numpy(dtype=float)
            np.testing.assert_allclose(found, [values.mean(), interval.low, interval.high], rtol=1e-12)
    assert data.loc[7, "difference"] == 0
    assert (data["seeds"] == 6).all()
    assert (table.data["state"] == "done").all()


def test_shown_are_the_best_five_the_defaults_and_those_included(tmp_path):
    table = build_table("hyperparameters", [make_search(tmp_path)])
    (section,) = table.sections
    assert [row[1].text for row in section.rows] == [
        "drawn 3",
        "reference",
        "drawn 2",
        "drawn 4",
        "drawn 0",
        "defaults",
    ]
    assert [row[0].text for row in section.rows] == ["1", "2", "3", "4", "5", "8"]
    assert [[cell.best for cell in row].index(True) for row in section.rows[:1]] == [5]
    assert not any(cell.best for row in section.rows[1:] for cell in row)
    assert "±" in section.rows[0][5].text
    assert section.rows[-1][6].text == ""
    assert section.heading == "diamonds · spline flow · 9 configurations · 4 seeds"


def test_configuration_that_diverged_once_ranks_last_without_a_mean(tmp_path):
    losses = losses_of(range(4))
    losses[3, 1] = math.nan
    table = build_table("hyperparameters", [make_search(tmp_path, losses=losses)])
    last = table.data[table.data["configuration"] == 3].iloc[0]
    assert last["rank"] == 9
    assert np.isnan(last["validation_nll"])
    assert last["diverged"] == 1
    assert table.data.loc[table.data["rank"] == 1, "configuration"].item() == 8
    assert any("diverged" in note for note in table.notes)


def test_configuration_that_was_cut_ranks_below_those_that_were_not(tmp_path):
    allowed = (200, 200, 200, 12, 50, 50, 50, 200, 200)
    table = build_table("hyperparameters", [make_search(tmp_path, allowed=allowed)])
    ranked = table.data.sort_values("rank")["configuration"].tolist()
    assert ranked == [8, 2, 0, 1, 7, 4, 5, 6, 3]
    assert any("cut" in note for note in table.notes)


def test_a_run_that_is_not_finished_is_a_hole(tmp_path):
    runs = [make_search(tmp_path), make_search(tmp_path, dataset="sarcos", state="pending")]
    table = render_partial("hyperparameters", runs)
    assert table.sections[1].heading == "sarcos · spline flow · pending"
    assert table.sections[1].rows == ()
    assert table.data[table.data["dataset"] == "sarcos"]["state"].tolist() == ["pending"]
    assert len(render_partial("hyperparameters", runs[1:]).data) == 1
    with pytest.raises(StateError, match="not finished"):
        build_table("hyperparameters", runs)


def test_other_studies_and_options_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no hyperparameter search"):
        build_table("hyperparameters", [make_search(tmp_path, study="regression")])
    with pytest.raises(ConfigurationError, match="no options"):
        build_table("hyperparameters", [make_search(tmp_path)], {"top": 3})


def test_preset_holds_the_best_values_of_every_cell_to_the_last_digit(tmp_path):
    worse = losses_of(range(4))
    worse[3] += 1.0
    runs = [
        make_search(tmp_path),
        make_search(tmp_path, architecture="gaussian", losses=worse),
        make_search(tmp_path, dataset="sarcos"),
    ]
    path = tmp_path / "found.yaml"
    path.write_text(hyperparameter_preset(runs, "balsa_search"))
    preset = validate_parameters(Preset, read_yaml(path), where="found.yaml")
    assert preset.study == "regression"
    assert "balsa_search (4 seeds)" in preset.source
    found = {
        (o.when["dataset"], o.when["architecture"]): tuple(
            o.set[f"training.{key}"] for key in ("learning_rate", "weight_decay", "dropout")
        )
        for o in preset.overrides
    }
    best, second = ((RATES[n], 1e-4 * n, 0.01 * n) for n in (3, 8))
    assert found == {
        ("diamonds", "spline_flow"): best,
        ("diamonds", "gaussian"): second,
        ("sarcos", "spline_flow"): best,
    }


def test_preset_of_an_ambiguous_or_diverged_search_is_refused(tmp_path):
    several = [make_search(tmp_path), make_search(tmp_path, batch_size=64)]
    with pytest.raises(ConfigurationError, match=r"several ways.*batch_size=16; training\.batch_size=64"):
        hyperparameter_preset(several, "balsa_search")
    losses = np.full((9, 4), math.nan)
    with pytest.raises(ConfigurationError, match="no configuration of sarcos"):
        hyperparameter_preset([make_search(tmp_path, dataset="sarcos", losses=losses)], "balsa_search")


def test_searches_of_several_variants_are_ranked_apart(tmp_path):
    ranked = ranked_configurations([make_search(tmp_path), make_search(tmp_path, batch_size=64)])
    assert ranked["rank"].tolist() == [*range(1, 10)] * 2
    assert ranked["variant"].unique().tolist() == ["training.batch_size=16", "training.batch_size=64"]
