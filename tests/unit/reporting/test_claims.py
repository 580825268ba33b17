import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.grid.plan import make_plan
from bayesgrid.reporting.claims import Claim, claims_table, evaluate_claims, load_claims
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.table_files import markdown, write_table

CONFIG = Path(__file__).parents[3] / "config"
AGENTS = ("random", "coreset", "balsa_emd")


def claim(comparison, **fields):
    values = {
        "name": "a_claim",
        "study": "regression",
        "statement": "A statement",
        "source": "A paper, table 1",
        "source_kind": "paper",
        "comparison": comparison,
        "tests": [{"experiment": "demo"}],
        **fields,
    }
    return validate_parameters(Claim, values, where="test")


def runs_of(tmp_path, curves, *, labelled=(10, 20, 30), dataset="diamonds", chosen=None, **spec):
    """Return one run per agent whose NLL is the given array [S, R]."""
    records = []
    for agent, values in curves.items():
        folder = tmp_path / f"{dataset}-{agent}-{len(spec)}"
        folder.mkdir()
        array = np.asarray(values, dtype=float)
        seed, position = (axis.ravel() for axis in np.indices(array.shape))
        frame = pd.DataFrame(
            {
                "seed": seed,
                "round": position,
                "labelled": np.asarray(labelled)[position],
                "nll": array.ravel(),
                "crps": array.ravel() * 2,
                "mae_median": array.ravel() * 3,
                "chosen": [[int(i), int(j)] for i, j in zip(seed, position, strict=True)],
            }
        )
        if chosen and agent in chosen:
            frame["chosen"] = chosen[agent]
        frame.to_parquet(folder / "rounds.parquet")
        parameters = {
            "dataset": dataset,
            "architecture": "spline_flow",
            "agent": agent,
            "labels": {"query_size": 10},
            "seeds": list(range(len(array))),
            **spec,
        }
        records.append(RunRecord(folder.name, "regression", parameters, folder, ("demo",)))
    return records


def verdict(comparison, runs, **fields):
    return evaluate_claims([claim(comparison, **fields)], runs).iloc[0]


def flat(finals):
    """Return curves [S, 3] that end at the given values."""
    return [[1.0, 1.0, final] for final in finals]


ORDERING = {
    "kind": "ordering",
    "dataset": "diamonds",
    "metric": "nll",
    "quantity": "final",
    "lower": "coreset",
    "higher": "random",
}


@pytest.mark.parametrize(
    ("differences", "margin", "expected"),
    [
        # t-interval of the mean, 4 seeds: mean ± 1.59 sd.
        ([-1.0, -1.1, -0.9, -1.0], 0.0, "reproduced"),
        ([-1.0, 1.1, -0.9, -1.0], 0.0, "within interval"),
        ([1.0, -1.1, 0.9, 1.0], 0.0, "within interval"),
        ([1.0, 1.1, 0.9, 1.0], 0.0, "not reproduced"),
        ([0.0, 0.0, 0.0, 0.0], 0.0, "not reproduced"),
        ([-1.0, -1.1, -0.9, -1.0], 0.95, "within interval"),
        ([-1.0, -1.1, -0.9, -1.0], 1.05, "within interval"),
        ([-1.0, -1.1, -0.9, -1.0], 1.2, "not reproduced"),
    ],
)
def test_ordering(tmp_path, differences, margin, expected):
    # A large effect shared by the agents: only a paired comparison can see the differences.
    shared = np.array([5.0, -7.0, 3.0, 11.0])
    runs = runs_of(tmp_path, {"random": flat(shared), "coreset": flat(shared + differences)})
    row = verdict({**ORDERING, "margin": margin}, runs)
    assert row["verdict"] == expected
    assert row["estimate"] == pytest.approx(np.mean(differences))
    assert row["seeds"] == 4


def test_ordering_of_areas_and_row_means_differ_with_uneven_rounds(tmp_path):
    curves = {"random": [[0.0, 1.0, 1.0]] * 3, "coreset": [[0.0, 2.0, 0.5]] * 3}
    runs = runs_of(tmp_path, curves, labelled=(10, 11, 31))
    area = verdict({**ORDERING, "quantity": "area"}, runs)
    rows = verdict({**ORDERING, "quantity": "mean_over_rounds"}, runs)
    assert area["estimate"] == pytest.approx((1 + 25) / 21 - (0.5 + 20) / 21)
    assert rows["estimate"] == pytest.approx(2.5 / 3 - 2 / 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2.0, 2.1, 1.9], "reproduced"), ([1.0, 4.0, 2.5], "within interval"), ([3.0, 3.1, 2.9], "not reproduced")],
)
def test_value(tmp_path, values, expected):
    comparison = {
        "kind": "value",
        "dataset": "diamonds",
        "metric": "nll",
        "quantity": "final",
        "agent": "random",
        "number": 2.0,
        "tolerance": 0.2,
    }
    assert verdict(comparison, runs_of(tmp_path, {"random": flat(values)}))["verdict"] == expected


@pytest.mark.parametrize(
    ("direction", "finals", "expected"),
    [
        ("rises", [2.0, 2.1, 2.2], "reproduced"),
        ("falls", [2.0, 2.1, 2.2], "not reproduced"),
        ("rises", [2.0, 0.9, 2.2], "within interval"),
        ("falls", [0.2, 0.1, 0.2], "reproduced"),
    ],
)
def test_change(tmp_path, direction, finals, expected):
    comparison = {
        "kind": "change",
        "dataset": "diamonds",
        "metric": "nll",
        "agent": "random",
        "start": 20,
        "end": "last",
        "direction": direction,
    }
    row = verdict(comparison, runs_of(tmp_path, {"random": flat(finals)}))
    assert row["verdict"] == expected
    assert row["estimate"] == pytest.approx(np.mean(finals) - 1)
    assert "from 20 to 30 labels" in row["finding"]


def test_change_between_labels_that_were_not_recorded_is_not_run(tmp_path):
    comparison = {
        "kind": "change",
        "dataset": "diamonds",
        "metric": "nll",
        "agent": "random",
        "start": 15,
        "end": "last",
        "direction": "rises",
    }
    row = verdict(comparison, runs_of(tmp_path, {"random": flat([1.0, 2.0])}))
    assert (row["verdict"], row["finding"]) == ("not run", "15 labels were not recorded (10 to 30)")


EQUAL = {"kind": "equal", "dataset": "diamonds", "agents": ["random", "coreset"]}


def test_equal_curves_are_reproduced_and_one_last_bit_is_not(tmp_path):
    values = np.array(flat([0.1, 0.2, 0.3]))
    moved = values.copy()
    moved[1, 2] = np.nextafter(moved[1, 2], 1)
    (tmp_path / "same").mkdir()
    (tmp_path / "moved").mkdir()
    assert verdict(EQUAL, runs_of(tmp_path / "same", {"random": values, "coreset": values}))["verdict"] == "reproduced"
    row = verdict(EQUAL, runs_of(tmp_path / "moved", {"random": values, "coreset": moved}))
    assert (row["verdict"], row["finding"]) == ("not reproduced", "first differ in nll at 30 labels of seed 1")


def test_equal_curves_of_agents_that_bought_other_labels_are_not_equal(tmp_path):
    values = flat([0.1, 0.2])
    other = {"coreset": [[0, 0], [0, 1], [0, 9], [1, 0], [1, 1], [1, 2]]}
    row = verdict(EQUAL, runs_of(tmp_path, {"random": values, "coreset": values}, chosen=other))
    assert (row["verdict"], row["finding"]) == ("not reproduced", "first differ in chosen at 30 labels of seed 0")


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([[1.0, 2.0, 3.0], [1.1, 2.1, 3.1], [0.9, 1.9, 3.0]], "reproduced"),
        ([[2.0, 1.0, 3.0], [2.1, 1.1, 3.1], [1.9, 0.9, 3.0]], "not reproduced"),
        ([[2.0, 1.0, 5.0], [1.1, 2.1, 5.1], [1.9, 0.9, 5.0]], "within interval"),
    ],
)
def test_same_ranking(tmp_path, second, expected):
    first = np.array([[1.0, 2.0, 3.0], [1.1, 2.1, 3.1], [0.9, 1.9, 3.0]])
    runs = runs_of(tmp_path, {agent: flat(first[:, i]) for i, agent in enumerate(AGENTS)})
    for i, run in enumerate(runs):
        path = run.folder / "rounds.parquet"
        frame = pd.read_parquet(path)
        frame.loc[frame["labelled"] == 30, "crps"] = np.array(second)[:, i]
        frame.to_parquet(path)
    comparison = {
        "kind": "same_ranking",
        "dataset": "diamonds",
        "metrics": ["nll", "crps"],
        "quantity": "final",
        "agents": list(AGENTS),
    }
    assert verdict(comparison, runs)["verdict"] == expected


BEST_RANK = {
    "kind": "best_rank",
    "datasets": ["diamonds", "sarcos"],
    "metric": "nll",
    "quantity": "final",
    "agent": "coreset",
    "others": ["random", "balsa_emd"],
}


@pytest.mark.parametrize(
    ("coreset", "expected", "rank"),
    [
        ([0.1, 0.1, 0.1, 0.1], "reproduced", 1.0),
        ([0.1, 0.1, 2.5, 0.1], "within interval", 1.25),
        ([2.5, 2.5, 2.5, 2.5], "not reproduced", 2.0),
    ],
)
def test_best_rank_over_data_sets(tmp_path, coreset, expected, rank):
    runs = []
    for dataset in ("diamonds", "sarcos"):
        values = coreset if dataset == "diamonds" else [0.1] * 4
        curves = {"random": flat([1.0] * 4), "coreset": flat(values), "balsa_emd": flat([2.0] * 4)}
        runs += runs_of(tmp_path, curves, dataset=dataset)
    row = verdict(BEST_RANK, runs)
    assert row["verdict"] == expected
    assert f"mean rank {rank:.2f} of 3" in row["finding"]


SCORE_BOUND = {"kind": "score_bound", "dataset": "diamonds", "agent": "random", "bound": 1e-4}


def with_scores(run, lowest, highest):
    path = run.folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    last = frame["labelled"] == frame["labelled"].max()
    frame["score_min"] = np.where(last, np.nan, lowest)
    frame["score_max"] = np.where(last, np.nan, highest)
    frame.to_parquet(path)
    return frame


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [
        (-1e-5, 2e-5, "reproduced"),
        (-1e-4, 1e-4, "reproduced"),
        (-2e-4, 1e-5, "not reproduced"),
        (-1e-5, 2e-4, "not reproduced"),
    ],
)
def test_score_bound_looks_at_both_ends_of_the_scores(tmp_path, lowest, highest, expected):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0])})
    with_scores(runs[0], lowest, highest)
    row = verdict(SCORE_BOUND, runs)
    assert row["verdict"] == expected
    assert row["estimate"] == max(-lowest, highest)
    assert row["seeds"] == 2
    assert "in 4 rounds" in row["finding"]


def test_one_large_score_in_one_round_of_one_seed_breaks_the_bound(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0, 3.0])})
    frame = with_scores(runs[0], -1e-6, 1e-6)
    frame.loc[4, "score_max"] = 0.5
    frame.to_parquet(runs[0].folder / "rounds.parquet")
    assert verdict(SCORE_BOUND, runs)["verdict"] == "not reproduced"


def test_without_scores_a_bound_is_not_run(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0])})
    assert "do not record score_min, score_max" in verdict(SCORE_BOUND, runs)["finding"]
    with_scores(runs[0], np.nan, np.inf)
    row = verdict(SCORE_BOUND, runs)
    assert (row["verdict"], row["finding"]) == ("not run", "no round of random has a finite score")


VIOLATION = {
    "kind": "isotonic_violation",
    "dataset": "diamonds",
    "metric": "nll",
    "bound": 0.02,
    "agents": ["random", "coreset"],
}


@pytest.mark.parametrize(
    ("finals", "expected"),
    [
        # Curves are 1, 1, final: a rise of f is one of 2 f / 3 above the pooled fit.
        ([0.9, 0.8, 0.95], "reproduced"),
        ([1.01, 1.012, 1.011], "reproduced"),
        ([1.0, 1.2, 0.9], "within interval"),
        ([1.3, 1.31, 1.29], "not reproduced"),
    ],
)
def test_isotonic_violation(tmp_path, finals, expected):
    runs = runs_of(tmp_path, {"random": flat([0.5, 0.5, 0.5]), "coreset": flat(finals)})
    row = verdict(VIOLATION, runs)
    assert row["verdict"] == expected
    rise = max(0.0, 2 * (np.mean(finals) - 1) / 3)
    assert row["estimate"] == pytest.approx(rise, abs=1e-12)
    assert ("of coreset" in row["finding"]) == (rise > 0)


def test_runs_with_all_labels_take_no_part_in_claims(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0, 3.0]), "coreset": flat([0.0, 1.1, 2.0])})
    bound = runs_of(tmp_path, {"random": flat([9.0])}, labels={"query_size": 10, "budget": 0}, extra=1)
    assert verdict(ORDERING, [*runs, *bound])["verdict"] == verdict(ORDERING, runs)["verdict"] == "reproduced"


def test_claims_are_not_run_until_every_run_they_need_is_finished(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0]), "coreset": flat([0.0, 1.0])})
    assert verdict(ORDERING, runs)["verdict"] != "not run"
    late = [runs[0], dataclasses.replace(runs[1], state="failed:out_of_memory")]
    assert "1 of 1 runs of coreset on diamonds: failed:out_of_memory" in verdict(ORDERING, late)["finding"]
    assert "no such run of coreset" in verdict(ORDERING, runs[:1])["finding"]
    elsewhere = verdict(ORDERING, runs, tests=[{"experiment": "balsa_paper"}])
    assert (elsewhere["verdict"], elsewhere["finding"]) == (
        "not run",
        "no run of the experiment is planned",
    )


def test_one_seed_decides_nothing(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0]), "coreset": flat([0.0])})
    row = verdict(ORDERING, runs)
    assert row["verdict"] == "not run"
    assert "2 seeds" in row["finding"]


def test_seeds_that_agents_do_not_share_are_left_out(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0, 3.0]), "coreset": flat([0.0, 1.0, 2.0, 99.0])})
    row = verdict(ORDERING, runs)
    assert (row["seeds"], row["estimate"]) == (3, -1.0)


def test_pairs_are_formed_by_seed_and_not_by_position(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([9.0, 1.0, 2.0, 3.0]), "coreset": flat([0.0, 1.1, 2.0])})
    path = runs[1].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.assign(seed=frame["seed"] + 1).to_parquet(path)
    row = verdict(ORDERING, runs)
    # Seeds 1, 2, 3: 0.0 - 1.0, 1.1 - 2.0 and 2.0 - 3.0.
    assert row["estimate"] == pytest.approx(-2.9 / 3)
    assert row["verdict"] == "reproduced"


def test_where_tells_configurations_apart(tmp_path):
    curves = {"random": flat([1.0, 2.0]), "coreset": flat([0.0, 1.0])}
    runs = runs_of(tmp_path, curves) + runs_of(tmp_path, curves, labels={"query_size": 1}, extra=1)
    with pytest.raises(ConfigurationError, match="where"):
        verdict(ORDERING, runs)
    row = verdict(ORDERING, runs, tests=[{"experiment": "demo", "where": {"labels.query_size": 1}}])
    assert row["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statment": "x"}, "did you mean 'statement'"),
        ({"source_kind": "hearsay"}, "source_kind"),
        ({"tests": []}, "tests"),
        ({"name": "Not a name"}, "name"),
        ({"comparison": {**ORDERING, "kind": "guess"}}, "guess"),
        ({"comparison": {**ORDERING, "metric": "accuracy"}}, "metric"),
        ({"comparison": {**ORDERING, "margin": -1}}, "margin"),
        ({"comparison": {**BEST_RANK, "others": ["coreset"]}}, "compared with itself"),
        ({"comparison": {**VIOLATION, "agents": []}}, "at least 1"),
        ({"comparison": {**SCORE_BOUND, "bound": 0}}, "greater than 0"),
        ({"tests": [{"experiment": "demo"}, {"experiment": "demo"}]}, "same runs"),
    ],
)
def test_malformed_claims_are_configuration_errors(change, message):
    with pytest.raises(ConfigurationError, match=message):
        claim(change.pop("comparison", ORDERING), **change)


def test_repeated_names_are_refused(tmp_path):
    entry = claim(ORDERING).model_dump(mode="json")
    path = tmp_path / "claims.yaml"
    YAML().dump({"claims": [entry, entry]}, path)
    with pytest.raises(ConfigurationError, match="same name"):
        load_claims(path)


def test_the_ledger_names_real_experiments_with_the_runs_it_needs():
    claims = load_claims(CONFIG / "claims.yaml")
    plan = make_plan(CONFIG, sorted({test.experiment for entry in claims for test in entry.tests}))
    runs = [
        RunRecord(name, run.study, run.spec.model_dump(mode="json"), Path("nowhere"), run.experiments, "pending")
        for name, run in plan.runs.items()
    ]
    evaluated = evaluate_claims(claims, runs)
    assert set(evaluated["verdict"]) == {"not run"}
    # Nothing but the runs themselves is missing: no claim asks for an agent or data set that no experiment has.
    untestable = evaluated["claim"].isin([entry.name for entry in claims if entry.comparison.kind == "untestable"])
    assert evaluated[~untestable]["finding"].str.contains("pending").all(), evaluated["finding"].tolist()
    assert evaluated[untestable]["finding"].str.startswith("untestable here: ").all()


def test_a_reproduction_by_others_is_told_from_what_others_quote(tmp_path):
    runs = runs_of(tmp_path, {"random": flat([1.0, 2.0]), "coreset": flat([0.0, 1.0])})
    table = claims_table(evaluate_claims([claim(ORDERING, source_kind="independent_reproduction")], runs))
    assert table.sections[0].rows[0][1].text == "A paper, table 1 (independent reproduction)"
    kinds = {entry.source_kind for entry in load_claims(CONFIG / "claims.yaml") if "Stiefel manifold" in entry.source}
    assert kinds == {"independent_reproduction"}


def test_the_demo_alone_decides_several_claims(demo_runs):
    evaluated = evaluate_claims(load_claims(CONFIG / "claims.yaml"), demo_runs)
    demo = evaluated[evaluated["experiment"] == "demo"]
    assert len(demo) >= 4
    assert "not run" not in set(demo["verdict"])
    assert set(evaluated[evaluated["experiment"] != "demo"]["verdict"]) == {"not run"}


def test_every_claim_on_published_numbers_states_them_and_every_recipe_difference_is_marked():
    for entry in load_claims(CONFIG / "claims.yaml"):
        if entry.source_kind in {"author_log", "figure_read_by_eye"}:
            assert entry.published, entry.name
        if entry.source_kind != "derivation":
            assert entry.caveat, entry.name
        if entry.study != "regression":
            continue
        if entry.source_kind != "derivation":
            for test in entry.tests:
                assert test.where.get("labels.query_size") == 1 or "Query size 50" in test.caveat, entry.name
        recipes = {test.where.get("mode", "corrected") for test in entry.tests if entry.source_kind != "derivation"}
        if "faithful" in recipes:
            # What is said of all tests must hold for the reference's recipe too.
            assert "orrected recipe" not in entry.caveat, entry.name
            for test in entry.tests:
                corrected = "orrected recipe" in test.caveat
                assert corrected == (test.where.get("mode") != "faithful"), (entry.name, test.experiment)


def test_claims_about_answers_say_where_they_are_tested_with_the_corrected_objective():
    one_mode = {"mle", "zeroshot"}
    plan = make_plan(CONFIG, ["id_sweep", "id_sweep_faithful", "scalabl_paper", "tfb_paper"])
    corrected_experiments = {
        name for name, runs in plan.experiments.items() if plan.runs[runs[-1]].spec.mode == "correct"
    }
    assert corrected_experiments == {"id_sweep"}
    checked = 0
    for entry in load_claims(CONFIG / "claims.yaml"):
        if entry.study != "bayesian_lora":
            continue
        assert "orrected objective" not in entry.caveat, entry.name
        methods = {contender.method for contender in entry.comparison.contenders()}
        for test in entry.tests:
            if test.experiment in plan.experiments:
                corrected = test.experiment in corrected_experiments and not methods <= one_mode
                assert corrected == ("orrected objective" in test.caveat), (entry.name, test.experiment)
                checked += 1
    assert checked > 100


def test_published_numbers_of_answers_are_those_they_are_tested_against():
    checked = 0
    for entry in load_claims(CONFIG / "claims.yaml"):
        if entry.comparison.kind == "answer_value":
            numbers = list(entry.published.values())
            assert min(numbers) <= entry.comparison.number <= max(numbers), entry.name
            checked += len(numbers) == 1
            assert len(numbers) > 1 or f"{numbers[0]:g}" in entry.statement, entry.name
        if entry.comparison.kind == "answer_ordering" and len(entry.published) == 2:
            lower, higher = entry.published.values()
            assert lower < higher - entry.comparison.margin, entry.name
    assert checked > 60


def test_the_gates_of_the_reference_are_tested_on_its_own_recipe():
    tested = {
        entry.name
        for entry in load_claims(CONFIG / "claims.yaml")
        for test in entry.tests
        if test.experiment == "balsa_faithful" and test.where.get("mode") == "faithful"
    }
    gates = {
        "parkinsons_coreset_below_typiclust",
        "parkinsons_typiclust_below_random",
        "parkinsons_coreset_below_random",
        "diamonds_kl_pairs_below_random_by_a_tenth",
        "nflows_out_of_the_reference_scores_rounding",
    }
    assert gates <= tested


def test_the_ledger_is_written_as_a_table_with_footnotes(tmp_path, demo_runs):
    evaluated = evaluate_claims(load_claims(CONFIG / "claims.yaml"), demo_runs)
    table = claims_table(evaluated)
    text = markdown(table)
    for row in evaluated.to_dict("records"):
        assert row["statement"] in text.replace("\\", "")
        for caveat in (row["caveat"], row["test_caveat"]):
            assert not caveat or table.footnotes.count(caveat) == 1
    paths = write_table(table, tmp_path / "claims")
    again = write_table(claims_table(evaluated), tmp_path / "again")
    assert [path.read_bytes() for path in paths[:3]] == [path.read_bytes() for path in again[:3]]
    assert pd.read_parquet(paths[0])["verdict"].tolist() == evaluated["verdict"].tolist()
