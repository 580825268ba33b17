"""The files that questions are exported to, the page above all: self-contained, and texts stay texts."""

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from bayesgrid.cli import app
from bayesgrid.data.preference_pairs import Message, Prompt
from bayesgrid.errors import DataError, StateError
from bayesgrid.studies.preference.label_export import export_batch
from bayesgrid.studies.preference.label_import import import_answers
from bayesgrid.studies.preference.label_page import label_page

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]> & &lt; \u2028 %POLICY% %BATCH%",
    "</SCRIPT ><svg onload=alert(1)>",
    "=HYPERLINK('x')",
)
VOID = {"meta", "link", "img", "input", "br", "base"}


class Page(HTMLParser):
    """Elements of a page, as a browser would see them: (tag, attributes, text right inside)."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2] += data

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]

    def data(self, name):
        (text,) = (text for attributes, text in self.all("script") if attributes.get("id") == name)
        return json.loads(text)


@pytest.fixture
def hostile(pairs):
    """Pairs whose prompts and responses try to be more than text."""
    responses = tuple(
        replace(response, text=f"{HOSTILE[place % len(HOSTILE)]} {place}", system="secret-writer")
        for place, response in enumerate(pairs.responses)
    )
    prompts = tuple(
        Prompt(prompt.prompt_id, (Message("system", HOSTILE[0]), *prompt.messages)) for prompt in pairs.prompts
    )
    return replace(pairs, responses=responses, prompts=prompts)


@pytest.fixture
def exported(loop_spec, hostile, start_run, tmp_path):
    """A run that waits for labels, and the folder its batch was exported to."""
    labelled = start_run(loop_spec(labels={"oracle": "human"}), hostile)
    labelled.play()
    labelled.folder = tmp_path / "exported"
    labelled.lines = export_batch(labelled.state_root / "data", labelled.state_root, labelled.name, labelled.folder)
    return labelled


@pytest.fixture
def page(exported):
    return (exported.folder / "label.html").read_text()


def test_the_page_asks_no_network(page):
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|@import|url\(|\bimport\s*\(|\bfetch\(|XMLHttp|WebSocket", page)
    for tag, attributes, _text in Page(page).elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "svg", "video", "audio"}
        assert not {"src", "href", "action", "srcset", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_the_policy_admits_this_script_and_style_alone(page):
    parsed = Page(page)
    (policy,) = (a["content"] for a, _ in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = (text for attributes, text in parsed.all(tag) if attributes.get("type") is None)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_texts_are_data_and_reach_the_page_as_text_alone(page, exported):
    parsed, batch = Page(page), exported.asked()
    assert [attributes.get("id") for attributes, _ in parsed.all("script")] == ["keys", "batch", None]
    assert page.lower().count("</script") == 3
    (written,) = (text for attributes, text in parsed.all("script") if attributes.get("id") == "batch")
    assert "alert(1)" in written
    assert not set(written) & set("<>&\u2028")
    shown = parsed.data("batch")
    assert (shown["run"], shown["round"]) == (exported.name, 0)
    texts = {response.response_id: response.text for response in exported.data.responses}
    for number, question in enumerate(shown["questions"]):
        assert (question["pair_id"], question["prompt_id"]) == (batch.pair_ids[number], batch.prompt_ids[number])
        assert (question["left"], question["right"]) == (batch.left[number], batch.right[number])
        assert (question["left_text"], question["right_text"]) == (
            texts[batch.left[number]],
            texts[batch.right[number]],
        )
        assert question["prompt"][0] == {"role": "system", "content": HOSTILE[0]}
    (script,) = (text for attributes, text in parsed.all("script") if not attributes)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|DOMParser", script)


def test_another_text_changes_only_the_data_of_the_page():
    def around(text):
        question = {"pair_id": text, "prompt_id": text, "left": "a", "right": "b"}
        prompt = [{"role": "user", "content": text}]
        written = label_page("run", 0, "key", [{**question, "prompt": prompt, "left_text": text, "right_text": text}])
        return re.sub(r'(<script type="application/json" id="batch">).*?(</script>)', r"\1\2", written, flags=re.DOTALL)

    assert len({around(text) for text in ("plain", *HOSTILE)}) == 1


def test_keys_are_those_that_are_promised(page):
    keys = {key: row["action"] for row in Page(page).data("keys") for key in row["keys"]}
    assert keys == {
        "1": "left",
        "ArrowLeft": "left",
        "2": "right",
        "ArrowRight": "right",
        "3": "tie",
        "ArrowDown": "tie",
        "4": "both_bad",
        "u": "back",
        "Backspace": "back",
        "n": "next",
        "?": "help",
        "d": "download",
        "j": "scroll_down",
        "k": "scroll_up",
    }


def test_every_element_and_action_that_the_script_names_is_there(page):
    parsed = Page(page)
    (script,) = (text for attributes, text in parsed.all("script") if not attributes)
    ids = {attributes["id"] for _tag, attributes, _text in parsed.elements if "id" in attributes}
    named = set(re.findall(r'byId\("([a-z-]+)"\)', script)) | {"text-left", "text-right", "pane-left", "pane-right"}
    assert named <= ids
    table = script[script.index("const actions = {") : script.index("};", script.index("const actions = {"))]
    buttons = {attributes["data-action"] for attributes, _ in parsed.all("button") if "data-action" in attributes}
    for action in buttons | {row["action"] for row in parsed.data("keys")} - {"left", "right", "tie", "both_bad"}:
        assert re.search(rf"^  {action}\b", table, re.MULTILINE), action


def test_batches_have_keys_of_their_own_in_the_browser(page, exported, tmp_path):
    rows = [(pair, "left", "ada") for pair in exported.asked().pair_ids]
    answers = tmp_path / "answers.csv"
    answers.write_text("pair_id,choice,annotator\n" + "".join(f"{','.join(row)}\n" for row in rows))
    import_answers(exported.results, exported.state_root, exported.name, [answers])
    exported.play()
    export_batch(exported.state_root / "data", exported.state_root, exported.name, tmp_path / "second")
    later = Page((tmp_path / "second" / "label.html").read_text()).data("batch")
    assert later["round"] == 1
    assert later["key"] != Page(page).data("batch")["key"]


def test_who_wrote_a_response_and_what_is_tested_are_in_no_file(exported):
    for path in exported.folder.iterdir():
        text = path.read_text()
        assert "secret-writer" not in text
        assert "tested" not in text
    assert {path.name for path in exported.folder.iterdir()} == {"batch.csv", "batch.jsonl", "label.html"}


def test_tables_hold_the_questions_and_no_formula_and_can_be_filled_in(exported):
    batch = exported.asked()
    text = (exported.folder / "batch.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    lines = [json.loads(line) for line in (exported.folder / "batch.jsonl").read_text().splitlines()]
    texts = {response.response_id: response.text for response in exported.data.responses}
    assert [row["pair_id"] for row in rows] == [row["pair_id"] for row in lines] == list(batch.pair_ids)
    for row, line in zip(rows, lines, strict=True):
        for side in ("left", "right"):
            assert line[f"{side}_text"] == texts[row[side]] == row[f"{side}_text"].removeprefix("'")
            assert row[f"{side}_text"][0] not in "=+-@"
        assert row["choice"] == "" and line["choice"] is None
        row |= {"choice": "right", "annotator": "ada"}
        line |= {"choice": "tie", "annotator": "ben"}
    with (exported.folder / "batch.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (exported.folder / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [exported.folder / "batch.csv", exported.folder / "batch.jsonl"]
    (first, *_rest) = import_answers(exported.results, exported.state_root, exported.name, files)
    assert first == f"new answers: {2 * batch.count}, there already: 0"


def test_answers_written_into_an_export_are_not_lost(exported):
    place = exported.state_root / "data", exported.state_root, exported.name, exported.folder
    export_batch(*place)
    path = exported.folder / "batch.csv"
    written = path.read_bytes()
    path.write_bytes(written.replace(b",,,", b",left,ada,", 1))
    with pytest.raises(StateError, match=r"batch.csv: the file is there already.*--overwrite"):
        export_batch(*place)
    export_batch(*place, overwrite=True)
    assert path.read_bytes() == written


def test_data_that_are_gone_are_named(exported, tmp_path):
    with pytest.raises(DataError, match=r"'pairs' is not prepared.*bayesgrid prepare pairs"):
        export_batch(tmp_path / "nowhere", exported.state_root, exported.name, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_two_commands_do_what_the_functions_do(exported, tmp_path):
    settings = json.dumps({"experiments": ["demo"], "state_root": str(exported.state_root)})
    folder = tmp_path / "by_command"

    def command(*arguments):
        done = CliRunner().invoke(app, ["label", *arguments, "--settings", settings], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert f"open {folder / 'label.html'} in a browser" in command("export", exported.name, str(folder))
    for path in folder.iterdir():
        assert path.read_bytes() == (exported.folder / path.name).read_bytes()
    answers = tmp_path / "answers.csv"
    answers.write_text("pair_id,choice,annotator\n" + f"{exported.asked().pair_ids[0]},tie,[bold]ada\n")
    printed = command("import", exported.name[-16:], str(answers))
    assert "new answers: 1" in printed
    assert "annotators: [bold]ada" in printed
