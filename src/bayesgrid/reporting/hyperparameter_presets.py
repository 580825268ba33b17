"""The result of a hyperparameter search as a preset, which experiments of the study ``regression`` can name."""

from collections.abc import Sequence

from bayesgrid.errors import ConfigurationError
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.hyperparameter_tables import ranked_configurations
from bayesgrid.reporting.names import seeds_text

__all__ = ["hyperparameter_preset"]

_KEYS = ("learning_rate", "weight_decay", "dropout")


def hyperparameter_preset(runs: Sequence[RunRecord], experiment: str) -> str:
    """Return the YAML text of a preset with the best configuration of every data set and architecture.

    Args:
        runs: the finished runs of ``experiment``.
        experiment: named in the preset as the source of the values.

    Raises:
        ConfigurationError: if a run is no search, searches of one data set and architecture differ, or all
            configurations of one diverged.
        StateError: if a result file is missing or damaged.
    """
    ranked = ranked_configurations(runs)
    best = ranked[ranked["rank"] == 1]
    cells = ["dataset", "architecture"]
    twice = best[best.duplicated(cells, keep=False)]
    if len(twice):
        first = twice.iloc[0]
        raise ConfigurationError(
            f"{first['dataset']}, {first['architecture']} was searched in several ways",
            where=f"experiment {experiment}",
            given="; ".join(twice.loc[(twice[cells] == first[cells]).all(axis=1), "variant"]),
            allowed="one search for each data set and architecture",
        )
    diverged = best[best["validation_nll"].isna()]
    if len(diverged):
        first = diverged.iloc[0]
        raise ConfigurationError(
            f"no configuration of {first['dataset']}, {first['architecture']} was fitted to every subset",
            where=f"experiment {experiment}",
            remedy="lower the upper end of space.learning_rate",
        )
    lines = [
        "study: regression",
        "source: >-",
        f"  Lowest mean validation NLL of the search {experiment} ({seeds_text(best['seeds'])}), among the",
        "  configurations drawn, the defaults and those included.",
        "overrides:",
    ]
    for row in best.to_dict("records"):
        values = ", ".join(f"training.{key}: {float(row[key])!r}" for key in _KEYS)
        lines.append(f"  - when: {{dataset: {row['dataset']}, architecture: {row['architecture']}}}")
        lines.append(f"    set: {{{values}}}")
    return "\n".join(lines) + "\n"
