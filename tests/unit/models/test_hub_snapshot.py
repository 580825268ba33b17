"""What a download that failed says, whatever the hub's client raised."""

import itertools
import json
import logging

import pytest
from huggingface_hub import errors as hub_errors

from bayesgrid.errors import DataError
from bayesgrid.grid.model_sources import ModelEntry
from bayesgrid.models.prepare import prepare_model

COMMIT = "ab" * 20
ENTRY = {
    "label": "Tiny",
    "licence": "MIT",
    "citation": "nobody",
    "parameters": 100,
    "context_length": 256,
    "chat": True,
    "modality": "text",
    "sources": [
        {"kind": "path", "folder": "models/tiny"},
        {"kind": "hub", "repo": "nobody/tiny", "revision": COMMIT},
    ],
}


class ConnectError(Exception):
    """The name that the client's HTTP library gives to a connection that did not come about."""


def raised_by_client(name):
    kind = getattr(hub_errors, name)
    # The errors of an answer want the answer; here they need none.
    return kind.__new__(kind, "its own words") if issubclass(kind, hub_errors.HfHubHTTPError) else kind("its own words")


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Return a function that prepares a model while the client raises the last of some errors from those before it."""

    def prepared(*errors):
        made = [raised_by_client(error) if isinstance(error, str) else error for error in errors]
        for cause, error in itertools.pairwise(made):
            error.__cause__ = cause

        def fail(*_, **__):
            raise made[-1]

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(DataError) as caught:
            prepare_model("tiny", ModelEntry.model_validate_json(json.dumps(ENTRY)), tmp_path)
        return str(caught.value)

    return prepared


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (["OfflineModeIsEnabled", "LocalEntryNotFoundError"], ["HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"]),
        (
            [ConnectError("Name or service not known"), "LocalEntryNotFoundError"],
            ["cannot be reached: Name or service"],
        ),
        ([TimeoutError("timed out")], ["cannot be reached: timed out", "internet"]),
        (["GatedRepoError"], ["licence", "https://huggingface.co/nobody/tiny", "HF_TOKEN"]),
        (["RepositoryNotFoundError"], ["no such repository", "config/models.yaml"]),
        (["RevisionNotFoundError"], ["no such commit", "config/models.yaml"]),
        ([ValueError("first line\nsecond line")], ["does not serve it: first line"]),
    ],
)
def test_one_line_says_which_model_what_was_tried_and_what_to_do(prepare, errors, words):
    message = prepare(*errors)
    known = [
        "model 'tiny' (Tiny)",
        "path: no folder",
        f"hub nobody/tiny @ {COMMIT}",
        "user_files: tiny",
        "BAYESGRID_MIRROR",
    ]
    for word in [*words, *known]:
        assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(("error", "warned"), [("OfflineModeIsEnabled", False), ("RevisionNotFoundError", True)])
def test_a_hub_out_of_reach_is_not_warned_of_besides(prepare, caplog, error, warned):
    with caplog.at_level(logging.WARNING, logger="bayesgrid"):
        prepare(error)
    assert bool(caplog.records) == warned
