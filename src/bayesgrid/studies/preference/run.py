"""Entry point of the study: pairs of responses in; learning curves, test predictions and bought pairs out."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import PreferencePairs, read_preference_pairs
from bayesgrid.data.prepared_folders import prepared_folder
from bayesgrid.metrics.learning_curve import area_under_curve
from bayesgrid.metrics.preference_scores import preference_metrics
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.studies.preference.human_oracle import HumanOracle, taken_answers
from bayesgrid.studies.preference.loop import COLUMNS, LoopHistory, run_loop
from bayesgrid.studies.preference.model_choice import chosen_model
from bayesgrid.studies.preference.model_inputs import preference_features
from bayesgrid.studies.preference.models.preference_model import ModelInputs
from bayesgrid.studies.preference.pool import PairPool, pair_pool
from bayesgrid.studies.preference.spec import PreferenceSpec

__all__ = ["run", "run_on_pairs"]

_AREA_METRICS = ("accuracy", "nll", "brier", "ece", "tempered_nll")


def run(spec: PreferenceSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Fit, test and buy labels in rounds, all seeds as one stack.

    ``rounds`` has one line per seed and round: labels, test metrics, what the fit measured, and the pairs ``chosen``
    after the round. ``metrics`` has the last round's values, areas under the curves (``area_*``), and what the length
    of responses alone reaches; ``tested_answers_bought`` is there if the test labels are people's answers, because the
    data set has none. ``predictions`` has the tested pairs of the first and the last round.

    Raises:
        DataError: if the set is not prepared, or has too few labelled pairs.
        NumericalError: if a fit diverges, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
        Waiting: if people give the labels, and some are not there yet.
    """
    data = read_preference_pairs(prepared_folder(inputs.data, spec.dataset, inputs.data_versions[spec.dataset]))
    return run_on_pairs(spec, data, None, context)


def run_on_pairs(
    spec: PreferenceSpec,
    data: PreferencePairs,
    states: tuple[NDArray[np.floating], NDArray[np.floating]] | None,
    context: RunContext,
) -> RunResult:
    """Run the loop on pairs that were read, with the ``states`` of a base model, if there is one; see :func:`run`."""
    by_hand = spec.labels.oracle == "human"
    answers = taken_answers(context.state, context.run_id, data) if by_hand else None
    features = preference_features(data, spec.inputs, states, gated=spec.model.gate != "none")
    widths = ModelInputs(features.responses.shape[1], 0 if features.prompts is None else features.prompts.shape[1])
    pool = pair_pool(data, spec.labels, spec.seeds, spec.inputs.systems, answers)
    oracle = HumanOracle(context.state, context.run_id, spec.seeds, data, pool)
    require_labels = oracle.require if by_hand else None
    history = run_loop(spec, chosen_model(spec.model, widths), features, pool, context, require_labels)
    rounds = _rounds(spec, data, pool, history)
    return RunResult(
        metrics=_metrics(data, pool, rounds), predictions=_predictions(spec, data, pool, history), rounds=rounds
    )


def _rounds(spec: PreferenceSpec, data: PreferencePairs, pool: PairPool, history: LoopHistory) -> pd.DataFrame:
    records = []
    per_round = spec.labels.per_round
    first = history.labelled.shape[1] - per_round * (history.completed - 1)
    for slot, seed in enumerate(spec.seeds):
        for number in range(history.completed):
            labelled = first + number * per_round
            bought = pool.rows[slot, history.labelled[slot, labelled : labelled + per_round]]
            values = dict(zip(COLUMNS, history.measured[number, slot].tolist(), strict=True))
            chosen = [data.pair_ids[row] for row in bought.tolist()]
            records.append({"seed": seed, "round": number, "labelled": labelled, **values, "chosen": chosen})
    return pd.DataFrame.from_records(records)


def _metrics(data: PreferencePairs, pool: PairPool, rounds: pd.DataFrame) -> pd.DataFrame:
    records: list[tuple[int, str, str, float]] = []
    lengths = np.array([len(response.text) for response in data.responses], dtype=np.float64)
    test = pool.test
    longer = 0.5 + np.sign(lengths[test.first[0]] - lengths[test.second[0]]) / 2
    by_length = preference_metrics(longer, test.target[0])["accuracy"]
    for seed, own in rounds.groupby("seed", sort=False):
        final = own.iloc[-1]
        values = {name: float(final[name]) for name in COLUMNS if not name.startswith("score_")}
        if len(own) > 1:
            labelled = own["labelled"].to_numpy()
            areas = {name: float(area_under_curve(labelled, own[name].to_numpy())) for name in _AREA_METRICS}
            values |= {f"area_{name}": area for name, area in areas.items()}
        values |= {"labels_used": float(final["labelled"]), "longer_is_better_accuracy": by_length}
        values["examples"] = float(test.first.shape[1])
        if pool.test_bought:
            values["tested_answers_bought"] = values["examples"]
        records += [(seed, "test", name, value) for name, value in values.items() if np.isfinite(value)]
    return pd.DataFrame.from_records(records, columns=["seed", "split", "metric", "value"])


def _predictions(spec: PreferenceSpec, data: PreferencePairs, pool: PairPool, history: LoopHistory) -> pd.DataFrame:
    frames = []
    ids = [data.pair_ids[row] for row in pool.test_rows.tolist()]
    prompts = [data.prompts[place].prompt_id for place in pool.test.prompt[0].tolist()]
    for number, probability in sorted(history.probability.items()):
        for slot, seed in enumerate(spec.seeds):
            frames.append(
                pd.DataFrame(
                    {
                        "seed": seed,
                        "round": np.int64(number),
                        "pair": ids,
                        "prompt": prompts,
                        "first_preferred": pool.test.target[0],
                        "probability": probability[slot],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
