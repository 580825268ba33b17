"""What ``bayesgrid label export`` does: the open batch of a run as CSV, as JSON lines and as a page to answer on."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from bayesgrid.data.preference_pairs import PreferencePairs, read_preference_pairs
from bayesgrid.data.preference_texts import Prompt
from bayesgrid.data.prepared_folders import prepared_folder
from bayesgrid.errors import StateError
from bayesgrid.store.atomic import write_text
from bayesgrid.studies.preference.label_batches import QuestionBatch, find_labelled_run
from bayesgrid.studies.preference.label_import import require_open_batch
from bayesgrid.studies.preference.label_page import label_page

__all__ = ["COLUMNS", "export_batch", "exported_files"]

_IDS = ("run", "round", "pair_id", "prompt_id", "left", "right")
COLUMNS = (*_IDS, "choice", "annotator", "seconds", "prompt", "left_text", "right_text")
"""Of ``batch.csv``; ``choice``, ``annotator`` and ``seconds`` are to be filled in."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def export_batch(
    data_root: Path, state_root: Path, run_name: str, destination: Path, *, overwrite: bool = False
) -> list[str]:
    """Write the open batch of a run into a folder, and return what to tell the user, a line each.

    Who wrote a response is in none of the files.

    Args:
        data_root: root of the prepared data sets.
        state_root: where runs keep their state.
        run_name: id of the run, or the end of one.
        destination: folder that ``batch.csv``, ``batch.jsonl`` and ``label.html`` are written to.
        overwrite: replace files of these names that hold something else.

    Raises:
        ConfigurationError: if no run or several have this id.
        StateError: if the run does not wait for labels, or a file there holds something else.
        DataError: if the data set is not prepared any more.
    """
    run = find_labelled_run(state_root, run_name)
    batch = require_open_batch(state_root / run, run)
    data = read_preference_pairs(prepared_folder(data_root, batch.dataset, batch.data_version))
    files = exported_files(batch, data)
    for name, text in files.items():
        path = destination / name
        # The CSV may have been answered in place.
        if not overwrite and path.is_file() and path.read_bytes() != text.encode():
            raise StateError(
                "the file is there already and holds something else",
                where=str(path),
                remedy="name another folder, or replace it with --overwrite, which loses answers written into it",
            )
    for name, text in files.items():
        write_text(destination / name, text)
    return [
        f"{batch.count} pairs of round {batch.round_number} of {run} in {destination}",
        f"open {destination / 'label.html'} in a browser, or fill in the column 'choice' of batch.csv",
        f"then: bayesgrid label import {run} FILE...",
    ]


def exported_files(batch: QuestionBatch, data: PreferencePairs) -> dict[str, str]:
    """Return the text of each file by its name.

    Raises:
        StateError: if a response of the batch is not in the data.
    """
    questions = _questions(batch, data)
    lines = [json.dumps({**row, "choice": None, "annotator": None, "seconds": None}) + "\n" for row in questions]
    key = hashlib.sha256(json.dumps([batch.run, batch.round_number, batch.pair_ids]).encode()).hexdigest()[:16]
    return {
        "batch.csv": _csv(questions),
        "batch.jsonl": "".join(lines),
        "label.html": label_page(batch.run, batch.round_number, key, questions),
    }


def _questions(batch: QuestionBatch, data: PreferencePairs) -> list[dict[str, Any]]:
    texts = {response.response_id: response.text for response in data.responses}
    prompts = {prompt.prompt_id: prompt for prompt in data.prompts}
    rows = []
    for pair_id, prompt_id, left, right in zip(batch.pair_ids, batch.prompt_ids, batch.left, batch.right, strict=True):
        if prompt_id not in prompts or left not in texts or right not in texts:
            raise StateError(
                "a pair of the batch is not in the data set", where=f"data set {data.name!r}", given=pair_id
            )
        rows.append(
            {
                "run": batch.run,
                "round": batch.round_number,
                "pair_id": pair_id,
                "prompt_id": prompt_id,
                "left": left,
                "right": right,
                "prompt": _turns(prompts[prompt_id]),
                "left_text": texts[left],
                "right_text": texts[right],
            }
        )
    return rows


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def _csv(questions: list[dict[str, Any]]) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, restval="")
    writer.writeheader()
    for row in questions:
        turns = row["prompt"]
        prompt = turns[0]["content"] if len(turns) == 1 else "\n\n".join(f"{t['role']}: {t['content']}" for t in turns)
        texts = {"prompt": prompt, "left_text": row["left_text"], "right_text": row["right_text"]}
        writer.writerow({**row, **{name: _as_text(text) for name, text in texts.items()}})
    return written.getvalue()


def _as_text(text: str) -> str:
    """Return ``text`` so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
