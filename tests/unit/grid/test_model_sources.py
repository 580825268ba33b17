import subprocess
import sys
from pathlib import Path

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import HubModelSource, PathModelSource, WheelModelSource, load_model_catalog

CATALOG = Path(__file__).parents[3] / "config" / "models.yaml"
SHA = "ab" * 32
COMMIT = "cd" * 20

HUB = f"    - kind: hub\n      repo: nobody/tiny\n      revision: {COMMIT}\n"
PATH = "    - kind: path\n      folder: models/tiny\n"
WHEEL = f"""    - kind: wheel
      package: tinypack
      version: 1.0.0
      member: tinypack/tiny.gguf
      sha256: {SHA}
"""
FOLDER = f"""    - kind: wheel_folder
      package: tinypack
      version: 1.0.0
      files:
        config.json: {SHA}
        model.safetensors: {SHA}
"""
HEAD = """
tiny:
  label: tiny
  licence: MIT
  citation: nobody
  parameters: 1000
  context_length: 256
  chat: true
  modality: text
"""
ENTRY = f"{HEAD}  sources:\n{PATH}{HUB}"


@pytest.fixture
def catalog_file(tmp_path):
    def write(text):
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def load(catalog_file):
    return lambda text: load_model_catalog(catalog_file(text)).entry("tiny")


def test_entry_keeps_the_order_and_the_types_of_its_sources(load):
    entry = load(f"{HEAD}  weights: {SHA}\n  sources:\n{PATH}{WHEEL}{HUB}")
    assert [type(source) for source in entry.sources] == [PathModelSource, WheelModelSource, HubModelSource]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("label: tiny", "label: another name"),
        ("licence: MIT", "licence: Apache-2.0"),
        ("citation: nobody", "citation: somebody"),
        ("parameters: 1000", "parameters: 1001"),
        ("models/tiny", "moved/tiny"),
        (PATH, ""),
    ],
)
def test_revision_depends_on_the_weights_only(load, old, new):
    before = load(ENTRY).revision()
    assert old in ENTRY
    assert load(ENTRY.replace(old, new)).revision() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (COMMIT, "ef" * 20),
        ("nobody/tiny", "nobody/small"),
        ("  label: tiny\n", "  label: tiny\n  version: 2\n"),
        (HUB, WHEEL),
        ("  sources", f"  weights: {SHA}\n  sources"),
    ],
)
def test_revision_changes_with_the_weights(load, old, new):
    assert old in ENTRY
    assert load(ENTRY.replace(old, new)).revision() != load(ENTRY).revision()


def test_revision_of_a_wheel_is_that_of_its_member(load):
    text = f"{HEAD}  sources:\n{WHEEL}"
    moved = text.replace("tinypack/tiny.gguf", "tinypack/data/tiny.gguf").replace("1.0.0", "1.0.1")
    assert load(moved).revision() == load(text).revision()
    assert load(text.replace(SHA, "ba" * 32)).revision() != load(text).revision()


def test_revision_of_a_folder_in_a_wheel_is_that_of_all_its_files(load):
    text = f"{HEAD}  sources:\n{FOLDER}"
    moved = text.replace("1.0.0", "1.0.1") + "      folder: tinypack/model\n"
    assert load(moved).revision() == load(text).revision()
    for file in ("config.json", "model.safetensors"):
        changed = text.replace(f"{file}: {SHA}", f"{file}: {'ba' * 32}")
        assert load(changed).revision() != load(text).revision()


def test_model_is_causal_unless_its_entry_says_that_it_is_an_encoder(load):
    assert load(ENTRY).architecture == "causal"
    encoder = ENTRY.replace("chat: true", "chat: false\n  architecture: encoder")
    assert load(encoder).architecture == "encoder"
    assert load(encoder).revision() == load(ENTRY).revision()


def test_declared_weights_make_entries_with_other_sources_the_same_model(load):
    declared = f"{HEAD}  weights: {SHA}\n  sources:\n"
    assert len({load(declared + sources).revision() for sources in (PATH, WHEEL, HUB, PATH + WHEEL + HUB)}) == 1


def test_revision_has_the_form_of_a_data_version(load):
    revision = load(ENTRY.replace("  label: tiny\n", "  label: tiny\n  version: 3\n")).revision()
    assert revision.startswith("v3-")
    assert len(revision) == len("v3-") + 12
    int(revision[3:], 16)


@pytest.mark.parametrize("sources", [PATH, WHEEL + HUB, WHEEL + PATH + HUB])
def test_sources_that_do_not_identify_the_weights_need_them_declared(load, sources):
    with pytest.raises(ConfigurationError, match="needs 'weights'"):
        load(f"{HEAD}  sources:\n{sources}")


def test_hub_source_without_a_revision_is_listed_but_refused_with_the_key_to_fill_in(catalog_file):
    path = catalog_file(ENTRY.replace(COMMIT, "null"))
    catalog = load_model_catalog(path)
    assert list(catalog.entries) == ["tiny"]
    with pytest.raises(ConfigurationError) as caught:
        catalog.entry("tiny")
    for word in (str(path), "model 'tiny'", "source 2, key 'revision'", "40 hexadecimal digits"):
        assert word in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"sources\.2\.revision"):
        catalog.entries["tiny"].revision()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("licence: MIT", "license: MIT", ["unknown key 'license'", "did you mean 'licence'"]),
        ("kind: hub", "kind: hug", ["source 2", "'hug'", "did you mean 'hub'"]),
        (COMMIT, "main", ["source 2", "revision", "'main'"]),
        ("modality: text", "modality: vison", ["modality", "did you mean 'vision'"]),
        ("parameters: 1000", "parameters: 0", ["parameters"]),
        ("models/tiny", "../tiny", ["folder", "without '..'"]),
        ("chat: true", "chat: perhaps", ["chat"]),
        ("  citation: nobody\n", "", ["'citation' is missing"]),
        ("repo: nobody/tiny", "repo: tiny", ["repo"]),
        ("tiny:\n  label", "Tiny Model:\n  label", ["not a name for a model"]),
        (ENTRY, "[]", ["not a catalog"]),
        ("chat: true", "chat: true\n  architecture: encoder", ["an encoder has 'chat: false'"]),
        ("modality: text", "modality: text\n  architecture: encodr", ["architecture", "did you mean 'encoder'"]),
        (HUB, FOLDER.replace("config.json", "../config.json"), ["files"]),
        (WHEEL, WHEEL.replace("tiny.gguf", "tiny.bin"), ["member"]),
    ],
)
def test_faults_say_where_they_are_and_what_is_allowed(catalog_file, old, new, words):
    text = f"{HEAD}  sources:\n{WHEEL}" if old == WHEEL else ENTRY
    assert old in text
    path = catalog_file(text.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        load_model_catalog(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_unknown_model_names_the_nearest(catalog_file):
    with pytest.raises(ConfigurationError, match="did you mean 'tiny'"):
        load_model_catalog(catalog_file(ENTRY)).entry("tinny")


def test_catalog_of_the_repository_is_valid_and_its_models_are_distinct():
    catalog = load_model_catalog(CATALOG)
    revisions = {catalog.entry(name).revision() for name in catalog.entries}
    assert len(revisions) == len(catalog.entries)
    labels = [entry.label for entry in catalog.entries.values()]
    assert len(set(labels)) == len(labels)
    for entry in catalog.entries.values():
        # Every model can be supplied by hand, for machines without internet.
        assert entry.sources[0].kind == "path"


def test_weights_that_were_rounded_are_named_so():
    entry = load_model_catalog(CATALOG).entry("smollm2_135m_instruct")
    assert "Q4_1" in entry.label
    assert "Q4_1" in entry.sources[1].member


def test_reading_the_catalog_imports_no_numerical_library():
    program = (
        "import sys; from pathlib import Path; from bayesgrid.grid.model_sources import load_model_catalog; "
        f"load_model_catalog(Path({str(CATALOG)!r})); "
        "print(sorted({'torch', 'numpy', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
