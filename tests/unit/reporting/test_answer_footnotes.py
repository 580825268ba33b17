"""Labels of models and data sets in tables about answers, and what is said of them below."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bayesgrid.reporting.answer_dot_figure import draw_answer_metrics
from bayesgrid.reporting.answer_style import bold_text
from bayesgrid.reporting.source_texts import SourceText, load_source_texts
from bayesgrid.reporting.table_files import latex, markdown
from bayesgrid.reporting.tables import build_table, table_kinds

CONFIG = Path(__file__).parents[3] / "config"
FAST = {"replicates": 100}
KINDS = [kind for kind in table_kinds() if kind.startswith("answer_")]
SOURCES = {
    ("model", "small"): SourceText("Small-1 (4_bit)", "Rounded weights."),
    ("model", "other"): SourceText("Other", "Of another model."),
    ("dataset", "slake"): SourceText("SLAKE (yes, no)", "Said of the set."),
    ("dataset", "noisy_slake_8"): SourceText("SLAKE, noise 8", "Noise is added."),
    ("dataset", "noisy_slake_16"): SourceText("SLAKE, noise 16", "Noise is added."),
    ("dataset", "unused"): SourceText("Unused", "Of another set."),
}


def runs_of(kind, answers, root, sources=SOURCES):
    if kind == "answer_learning_curves":
        run = answers.make_rounds(root, dataset="slake")
        runs = [replace(run, spec={**run.spec, "model": "small"})]
    else:
        runs = [
            answers.make_answers(root, model="small", dataset="slake", evaluation=name, seeds=range(2), questions=20)
            for name in ("", "noisy_slake_8", "noisy_slake_16")
        ]
    return [replace(run, sources=sources) for run in runs]


def options_of(kind):
    return {} if kind in {"answer_draws", "answer_reliability", "answer_learning_curves"} else FAST


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_prints_labels_and_the_notes_of_what_it_shows_alone(answers, tmp_path, kind):
    table = build_table(kind, runs_of(kind, answers, tmp_path), options_of(kind))
    expected = ["Small-1 (4_bit): Rounded weights.", "SLAKE (yes, no): Said of the set."]
    if kind not in {"answer_learning_curves", "answer_by_training_size"}:
        expected.append("SLAKE, noise 8; SLAKE, noise 16: Noise is added.")
    assert sorted(table.footnotes) == sorted(expected)
    heading = table.sections[0].heading
    assert heading.startswith("Small-1 (4_bit) [1] · SLAKE (yes, no) [2]")
    assert set(table.data["model_label"]) == {"Small-1 (4_bit)"}
    assert set(table.data["model"]) == {"small"}
    text = markdown(table)
    for number, note in enumerate(table.footnotes, start=1):
        assert text.count(f"[{number}] {note}".replace("|", "\\|")) == 1


def test_without_texts_names_are_printed_and_nothing_is_said(answers, tmp_path):
    table = build_table("answer_metrics", runs_of("answer_metrics", answers, tmp_path, {}), FAST)
    assert table.footnotes == ()
    assert [section.heading.split(" · ")[:2] for section in table.sections][1] == [
        "small",
        "slake, answering noisy slake 8",
    ]


def test_a_figure_prints_the_labels(answers, tmp_path):
    table = build_table("answer_metrics", runs_of("answer_metrics", answers, tmp_path), FAST)
    figure = draw_answer_metrics(table.data)
    words = [text.get_text() for text in figure.texts]
    assert any("(yes,~no)" in text and "Small-1 (4_bit), n = 2 seeds" in text for text in words)
    assert any("answering SLAKE, noise 8" in text for text in words)
    figure.canvas.draw()


@pytest.mark.parametrize("label", ["A_b (c, d) 4 % #1", "Llama-3.1-8B", "costs $5"])
def test_any_label_can_be_printed_in_bold(label):
    import matplotlib.pyplot as plt

    figure = plt.figure()
    figure.text(0.1, 0.5, bold_text(label))
    figure.canvas.draw()
    plt.close(figure)


@pytest.mark.parametrize("kind", KINDS)
def test_captions_in_latex_are_short_and_notes_stand_below_the_rows(answers, tmp_path, kind):
    table = build_table(kind, runs_of(kind, answers, tmp_path), options_of(kind))
    text = latex(table, label="t")
    (caption,) = [line for line in text.splitlines() if line.startswith(r"\caption")]
    assert len(caption) < 100
    last_row = text.rindex(r"\end{tabular}") if r"\end{tabular}" in text else text.rindex(r"\end{longtable}")
    assert text.index("[1] Small-1") > last_row
    if r"\end{table*}" in text:
        assert text.index("[1] Small-1") < text.index(r"\end{table*}"), "a note belongs to its float"


def test_texts_are_those_of_the_configuration_with_every_leak_said_once():
    texts = load_source_texts(CONFIG)
    entries = yaml.safe_load((CONFIG / "datasets.yaml").read_text())
    models = yaml.safe_load((CONFIG / "models.yaml").read_text())
    assert {name for kind, name in texts if kind == "dataset"} == set(entries)
    for name, entry in entries.items():
        text = texts["dataset", name]
        assert text.label == entry["label"]
        assert " ".join(entry.get("note", "").split()) in " ".join(text.note.split())
        for pair, counts in (entry.get("known_leaks") or {}).items():
            for count in counts.values():
                assert f"{count:,}" in text.note, (name, pair)
        if entry.get("known_leaks", {}) is None:
            assert text.note.count("not counted") == 1, name
    for name, entry in models.items():
        assert texts["model", name] == SourceText(entry["label"], entry.get("note", ""))
    assert "Q4_1" in texts["model", "smollm2_135m_instruct"].note
    assert "15 test questions stand in training" in texts["dataset", "openbookqa"].note
    assert texts["dataset", "openbookqa"].note.count("15") == 1
    assert "prompts" in texts["dataset", "openbookqa"].note
    assert "prompts" not in texts["dataset", "diamonds"].note
