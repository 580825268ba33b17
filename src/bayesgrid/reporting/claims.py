"""The ledger of claims: what was published, what the finished runs say about it, and how sure they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import Parameters, validate_parameters
from bayesgrid.grid.yaml_files import read_yaml
from bayesgrid.reporting.answer_comparisons import AnswerComparison
from bayesgrid.reporting.answer_evidence import AnswerEvidence
from bayesgrid.reporting.answer_verdicts import has_settings, judge_answers
from bayesgrid.reporting.collect import RunRecord, buys_no_labels, collect_rounds
from bayesgrid.reporting.comparisons import Comparison, Measurement, Rounds, Undecidable, judge
from bayesgrid.reporting.preference_comparisons import PreferenceComparison, Untestable, judge_preferences
from bayesgrid.reporting.table import MINUS, Cell, Section, Table

__all__ = ["Claim", "ClaimTest", "claims_table", "evaluate_claims", "load_claims"]

SourceKind = Literal[
    "paper",
    "author_log",
    "figure_read_by_eye",
    "independent_reproduction",
    "third_party",
    "readme",
    "derivation",
    "expectation",
]

_SOURCE_KINDS = {
    "paper": "paper",
    "author_log": "authors' log",
    "figure_read_by_eye": "read off a figure",
    "independent_reproduction": "independent reproduction",
    "third_party": "third party",
    "readme": "README only, unverified",
    "derivation": "derivation",
    "expectation": "own expectation",
}
_COLUMNS = [
    "claim",
    "study",
    "experiment",
    "verdict",
    "statement",
    "published",
    "finding",
    "estimate",
    "lower",
    "upper",
    "seeds",
    "source",
    "source_kind",
    "caveat",
    "test_caveat",
]


class ClaimTest(Parameters):
    """Runs that can decide a claim."""

    experiment: str
    """Stem of the experiment's file."""
    where: dict[str, Any] = {}
    """Dotted keys of the specification and the values the runs must have, where the experiment has several."""
    caveat: str = ""
    """How these runs differ from the published setting, beyond the claim's own caveat."""


class Claim(Parameters):
    """One published statement and the comparison that tests it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Short name, unique in the file."""
    study: str
    """Study whose runs test it."""
    statement: str
    """The claim in a sentence."""
    source: str
    """Where it was published: work, and place in it."""
    source_kind: SourceKind
    """How the number got here; ``readme`` marks what stands in a repository's description alone, without table and
    seeds, ``derivation`` what follows from published definitions,
    ``expectation`` what this project expects of its own recipe and nobody published."""
    published: dict[str, float] = {}
    """The published numbers by what they are of."""
    comparison: Annotated[Comparison | AnswerComparison | PreferenceComparison, Field(discriminator="kind")]
    """The test."""
    tests: Annotated[tuple[ClaimTest, ...], Field(min_length=1)]
    """The experiments that put it to the test; each gets a verdict of its own."""
    caveat: str = ""
    """What a reader must know before trusting a verdict."""

    @model_validator(mode="after")
    def _one_test_per_selection(self) -> "Claim":
        seen = [(test.experiment, sorted(test.where.items())) for test in self.tests]
        if any(seen.count(entry) > 1 for entry in seen):
            raise ValueError(f"two tests of {self.name!r} select the same runs")
        return self


class _Ledger(Parameters):
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Return the claims of the YAML file ``path``.

    Raises:
        ConfigurationError: if the file is missing, does not fit the schema, or repeats a name.
    """
    claims = validate_parameters(_Ledger, read_yaml(path), where=str(path)).claims
    names = [claim.name for claim in claims]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError("two claims have the same name", where=str(path), given=name)
    return claims


def evaluate_claims(claims: Sequence[Claim], runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row per claim and test: verdict, finding, interval, source and caveats.

    The verdict is ``not run`` as long as a run that the comparison needs is not finished or not planned, so that it
    cannot be picked from a favourable part of the seeds.

    Raises:
        ConfigurationError: if a test selects runs with different hyperparameters, which ``where`` should tell apart.
        StateError: if a result file is missing or damaged.
    """
    evidence = AnswerEvidence()
    rows = [_evaluate(claim, test, runs, evidence) for claim in claims for test in claim.tests]
    types = {"seeds": "Int64", "estimate": "float64", "lower": "float64", "upper": "float64"}
    return pd.DataFrame(rows, columns=_COLUMNS).astype(types)


def claims_table(evaluated: pd.DataFrame) -> Table:
    """Return the result of :func:`evaluate_claims` as a table, one section an experiment, caveats as numbered notes."""
    pairs = zip(evaluated["caveat"], evaluated["test_caveat"], strict=True)
    caveats = [text for text in dict.fromkeys(text for pair in pairs for text in pair) if text]
    sections = []
    for experiment, rows in evaluated.groupby("experiment", sort=False):
        cells = []
        for row in rows.to_dict("records"):
            marks = [str(caveats.index(text) + 1) for text in (row["caveat"], row["test_caveat"]) if text]
            mark = f" [{', '.join(marks)}]" if marks else ""
            seeds = "" if pd.isna(row["seeds"]) else str(row["seeds"])
            texts = (
                row["statement"] + mark,
                f"{row['source']} ({_SOURCE_KINDS[row['source_kind']]})",
                row["published"].replace("-", MINUS),
                _signed(row["finding"]),
                seeds,
            )
            cells.append((*(Cell(text) for text in texts), Cell(row["verdict"], best=row["verdict"] == "reproduced")))
        sections.append(Section(f"Experiment {experiment}", tuple(cells)))
    counts = evaluated["verdict"].value_counts()
    order = ("reproduced", "within interval", "not reproduced", "not run")
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if verdict in counts.index)
    notes = (
        f"{summary}.",
        "Reproduced: the 95 % interval over seeds, paired by seed, excludes the opposite of the claim; that of answers "
        "is over seeds and questions, paired by both. "
        "Within interval: the interval holds both the claim and its opposite, so these runs do not decide. "
        "Not reproduced: the interval excludes the claim. "
        "Each verdict stands alone: at this level one in twenty true nulls is excluded by chance.",
    )
    columns = ("Claim", "Source", "Published", "Measured", "Seeds", "Verdict")
    return Table(
        evaluated,
        columns,
        tuple(sections),
        "Published claims and what the runs say",
        notes,
        footnotes=tuple(caveats),
        wrapped=columns[:4],
    )


def _evaluate(claim: Claim, test: ClaimTest, runs: Sequence[RunRecord], evidence: AnswerEvidence) -> dict[str, Any]:
    try:
        result = _judged(claim, test, runs, evidence)
        found: dict[str, Any] = {
            "verdict": result.verdict,
            "finding": result.finding,
            "estimate": result.interval.estimate,
            "lower": result.interval.lower,
            "upper": result.interval.upper,
            "seeds": result.seeds,
        }
    except Undecidable as reason:
        found = {"verdict": "not run", "finding": str(reason)}
    return {
        "claim": claim.name,
        "study": claim.study,
        "experiment": test.experiment,
        "statement": claim.statement,
        "published": ", ".join(f"{name} {value:g}" for name, value in claim.published.items()),
        "source": claim.source,
        "source_kind": claim.source_kind,
        "caveat": claim.caveat,
        "test_caveat": test.caveat,
        **found,
    }


def _judged(claim: Claim, test: ClaimTest, runs: Sequence[RunRecord], evidence: AnswerEvidence) -> Measurement:
    if isinstance(claim.comparison, Untestable):
        raise Undecidable(f"untestable here: {claim.comparison.reason}")
    planned = [run for run in runs if test.experiment in run.experiments]
    if not planned:
        raise Undecidable("no run of the experiment is planned")
    own = [run for run in planned if run.study == claim.study and has_settings(run, test.where)]
    if isinstance(claim.comparison, AnswerComparison):
        return judge_answers(claim.comparison, own, evidence)
    if isinstance(claim.comparison, PreferenceComparison):
        return judge_preferences(claim.comparison, own)
    return judge(
        claim.comparison, _rounds(claim.comparison, own, f"claim {claim.name!r}, experiment {test.experiment!r}")
    )


def _rounds(comparison: Comparison, runs: Sequence[RunRecord], where: str) -> Rounds:
    own = [run for run in runs if run.spec.get("architecture") == comparison.architecture and not buys_no_labels(run)]
    rounds: dict[tuple[str, str], pd.DataFrame] = {}
    for dataset, agent in comparison.cells():
        cell = [run for run in own if run.spec.get("dataset") == dataset and run.spec.get("agent") == agent]
        if not cell:
            raise Undecidable(f"no such run of {agent} on {dataset} in the experiment")
        waiting = [run for run in cell if not run.finished]
        if waiting:
            raise Undecidable(f"{len(waiting)} of {len(cell)} runs of {agent} on {dataset}: {waiting[0].state}")
        frame = collect_rounds(cell)
        kinds = frame[["query_size", "variant"]].drop_duplicates()
        if len(kinds) > 1:
            raise ConfigurationError(
                "the test of a claim selects runs with different hyperparameters",
                where=where,
                given="; ".join(f"query size {row.query_size} {row.variant}".strip() for row in kinds.itertuples()),
                remedy="tell them apart with `where`, such as {labels.query_size: 50}",
            )
        rounds[dataset, agent] = frame
    return rounds


def _signed(text: str) -> str:
    # A hyphen before a digit is a minus; those inside words stay.
    return "".join(
        MINUS if character == "-" and text[index + 1 : index + 2].isdigit() else character
        for index, character in enumerate(text)
    )
