"""Posteriors written as folders: they come back as they were, stock PEFT reads their mean, a bad folder is refused."""

import copy
import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.adapters.posterior_files import (
    AdapterPosterior,
    PosteriorProvenance,
    read_posterior,
    read_provenance,
    write_posterior,
)
from bayesgrid.errors import NumericalError, StateError

METHODS = ["zeroshot", "mle", "map", "mcdropout", "ensemble", "blob", "scalabl", "tfb", "ivon", "laplace"]
TOKENS = torch.arange(12).reshape(2, 6) * 5 % 61


@pytest.fixture
def provenance() -> PosteriorProvenance:
    return PosteriorProvenance(
        mode="correct",
        parametrisation="softplus",
        prior={"kind": "normal", "standard_deviation": 0.2},
        training_examples=640,
        seeds=(0, 3),
        parent_run="bayesian_lora_fit/mle-1234",
        base_model="tiny",
        base_revision="r1",
        module_prefix="model",
        labels=("A", "B", "C"),
        label_token_ids=(7, 11, 13),
        head_rows=torch.randn(3, 32, generator=torch.Generator().manual_seed(9)),
    )


@pytest.fixture
def posterior_of(random_adapter):
    def build(method: str) -> AdapterPosterior:
        mean = random_adapter(labels=3, layers=[0, 2])
        generator = torch.Generator().manual_seed(5)

        def positive(*shape):
            return torch.rand(*shape, generator=generator) + 0.01

        tensors, settings, members = {}, {}, ()
        for name, pair in mean.pairs.items():
            if method == "blob":
                tensors[f"{name}.standard_deviation"] = positive(*pair.a.shape)
            elif method == "scalabl":
                scale = positive(pair.rank)
                tensors[f"{name}.scale_mean"], tensors[f"{name}.scale_standard_deviation"] = scale, positive(pair.rank)
                tensors[f"{name}.right"] = pair.a / scale[:, None]
            elif method == "tfb":
                tensors[f"{name}.row_standard_deviation"] = positive(pair.rank)
            elif method == "ivon":
                tensors[f"{name}.a_standard_deviation"] = positive(*pair.a.shape)
                tensors[f"{name}.b_standard_deviation"] = positive(*pair.b.shape)
            elif method == "laplace":
                tensors[f"{name}.eigenvalues"] = positive(7)
        if method == "mcdropout":
            settings = {"dropout": 0.1}
        if method == "ensemble":
            members = (mean, *(random_adapter(labels=3, layers=[0, 2], seed=seed) for seed in (1, 2)))
        if method == "zeroshot":
            mean = AdapterWeights({}, 2.0)
        return AdapterPosterior(method, mean, tensors, settings, members)

    return build


def assert_same_adapter(left: AdapterWeights, right: AdapterWeights) -> None:
    assert left.scaling == right.scaling
    assert left.pairs.keys() == right.pairs.keys()
    for name, pair in left.pairs.items():
        assert torch.equal(pair.a, right.pairs[name].a)
        assert torch.equal(pair.b, right.pairs[name].b)


@pytest.mark.parametrize("method", METHODS)
def test_a_posterior_comes_back_as_it_was(method, tmp_path, posterior_of, provenance):
    posterior = posterior_of(method)
    write_posterior(tmp_path, posterior, provenance)
    read = read_posterior(tmp_path)
    assert (read.method, read.settings) == (posterior.method, posterior.settings)
    assert_same_adapter(read.mean, posterior.mean)
    assert len(read.members) == len(posterior.members)
    for member, original in zip(read.members, posterior.members, strict=True):
        assert_same_adapter(member, original)
    assert read.tensors.keys() == posterior.tensors.keys()
    for name, tensor in posterior.tensors.items():
        assert torch.equal(read.tensors[name], tensor)


def test_the_provenance_comes_back_as_it_was(tmp_path, posterior_of, provenance):
    write_posterior(tmp_path, posterior_of("blob"), provenance)
    read = read_provenance(tmp_path)
    for field in dataclasses.fields(PosteriorProvenance):
        found, expected = getattr(read, field.name), getattr(provenance, field.name)
        assert torch.equal(found, expected) if isinstance(found, torch.Tensor) else found == expected


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("method", ["scalabl", "ensemble"])
def test_stock_peft_predicts_with_the_mean(
    method, family, tmp_path, posterior_of, provenance, causal_model, adapted_logits
):
    from peft import PeftModel

    model = causal_model(family)
    posterior = posterior_of(method)
    write_posterior(tmp_path, posterior, provenance)
    folders = [tmp_path / "adapter", *(tmp_path / "members" / str(k) for k in range(len(posterior.members)))]
    for folder, weights in zip(folders, (posterior.mean, *posterior.members), strict=True):
        with torch.no_grad():
            found = PeftModel.from_pretrained(copy.deepcopy(model), folder).eval()(input_ids=TOKENS).logits
        torch.testing.assert_close(found, adapted_logits(model, weights, TOKENS), atol=1e-5, rtol=0)


def test_the_head_file_alone_gives_the_label_logits(tmp_path, posterior_of, provenance):
    posterior = posterior_of("map")
    write_posterior(tmp_path, posterior, provenance)
    head = load_file(tmp_path / "head.safetensors")
    hidden = torch.randn(5, 32)
    pair = posterior.mean.pairs[ANSWER_HEAD]
    expected = hidden @ provenance.head_rows.T + posterior.mean.scaling * hidden @ pair.a.T @ pair.b.T
    rows = head["base_rows"] + posterior.mean.scaling * head["lora_B"] @ head["lora_A"]
    torch.testing.assert_close(hidden @ rows.T, expected)
    assert head["token_ids"].tolist() == [7, 11, 13]


def test_an_adapter_of_the_head_alone_has_no_peft_folder(tmp_path, random_adapter, provenance):
    mean = random_adapter(layers=[], labels=3)
    write_posterior(tmp_path, AdapterPosterior("mle", mean), provenance)
    assert not (tmp_path / "adapter").exists()
    assert_same_adapter(read_posterior(tmp_path).mean, mean)


def test_an_earlier_posterior_leaves_nothing_behind(tmp_path, posterior_of, provenance):
    write_posterior(tmp_path, posterior_of("ensemble"), provenance)
    write_posterior(tmp_path, posterior_of("zeroshot"), provenance)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert names == {"posterior.json", "posterior.safetensors", "head.safetensors"}


FILES = [
    "posterior.json",
    "posterior.safetensors",
    "head.safetensors",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "members/1/adapter_model.safetensors",
    "members/2/head.safetensors",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "one byte changed"])
def test_any_damaged_file_is_refused_by_name(name, damage, tmp_path, posterior_of, provenance):
    write_posterior(tmp_path, posterior_of("ensemble"), provenance)
    path = tmp_path / name
    content = path.read_bytes()
    changed = bytearray(content)
    changed[-6] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if damage == "truncated" else bytes(changed))
    with pytest.raises(StateError, match=path.name.replace(".", r"\.")):
        read_posterior(tmp_path)


def test_a_changed_setting_is_refused(tmp_path, posterior_of, provenance):
    write_posterior(tmp_path, posterior_of("mcdropout"), provenance)
    path = tmp_path / "posterior.json"
    path.write_text(path.read_text().replace('"dropout": 0.1', '"dropout": 0.5'))
    with pytest.raises(StateError, match="checksum"):
        read_posterior(tmp_path)


def test_another_version_of_the_format_is_refused(tmp_path, posterior_of, provenance):
    write_posterior(tmp_path, posterior_of("mle"), provenance)
    path = tmp_path / "posterior.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(StateError, match="another version"):
        read_posterior(tmp_path)


def test_the_adapter_of_another_posterior_is_refused(tmp_path, posterior_of, provenance):
    write_posterior(tmp_path / "one", posterior_of("blob"), provenance)
    write_posterior(tmp_path / "other", posterior_of("blob"), dataclasses.replace(provenance, base_revision="r2"))
    shutil.copy(tmp_path / "other/adapter/adapter_config.json", tmp_path / "one/adapter/adapter_config.json")
    with pytest.raises(StateError, match="altered"):
        read_posterior(tmp_path / "one")


def test_an_inert_mean_is_refused_unless_allowed(tmp_path, random_adapter, provenance):
    mean = random_adapter(labels=3)
    for pair in mean.pairs.values():
        pair.b.zero_()
    write_posterior(tmp_path, AdapterPosterior("mle", mean), provenance)
    with pytest.raises(StateError, match="changes nothing"):
        read_posterior(tmp_path)
    assert_same_adapter(read_posterior(tmp_path, allow_inert=True).mean, mean)
    write_posterior(tmp_path, AdapterPosterior("zeroshot", mean), provenance)
    assert_same_adapter(read_posterior(tmp_path).mean, mean)


NAME = "layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("blob", lambda tensors: tensors.pop(f"{NAME}.standard_deviation"), "missing"),
        ("blob", lambda tensors: tensors.update({f"{NAME}.rho": torch.ones(1)}), "rho"),
        ("blob", lambda tensors: tensors.update({f"{NAME}.standard_deviation": torch.ones(4)}), "shape"),
        ("tfb", lambda tensors: tensors[f"{NAME}.row_standard_deviation"].neg_(), "negative"),
        ("scalabl", lambda tensors: tensors[f"{NAME}.right"].mul_(1.01), "diag"),
        ("mle", lambda tensors: tensors.update({f"{NAME}.standard_deviation": torch.ones(4, 32)}), "unknown"),
        ("laplace", lambda tensors: tensors.update({f"{NAME}.draws_a": torch.ones(2, 4, 32)}), "missing"),
    ],
)
def test_tensors_that_the_method_cannot_use_are_refused_and_nothing_is_lost(
    method, change, message, tmp_path, posterior_of, provenance
):
    write_posterior(tmp_path, posterior_of("mle"), provenance)
    posterior = posterior_of(method)
    change(posterior.tensors)
    with pytest.raises(StateError, match=message):
        write_posterior(tmp_path, posterior, provenance)
    assert read_posterior(tmp_path).method == "mle"


@pytest.mark.parametrize("where", ["tensors", "mean", "member"])
def test_nan_is_refused_and_nothing_is_lost(where, tmp_path, posterior_of, provenance):
    write_posterior(tmp_path, posterior_of("mle"), provenance)
    posterior = posterior_of("ensemble" if where == "member" else "ivon")
    tensor = {
        "tensors": posterior.tensors.get(f"{NAME}.b_standard_deviation"),
        "mean": posterior.mean.pairs[NAME].a,
        "member": posterior.members[-1].pairs[NAME].b if posterior.members else None,
    }[where]
    tensor[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="NaN"):
        write_posterior(tmp_path, posterior, provenance)
    assert read_posterior(tmp_path).method == "mle"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "bolb"}, "unknown method"),
        ({"settings": {"dropout": (0.1,)}}, "plain JSON"),
        ({"settings": {"dropout": float("nan")}}, "plain JSON"),
        ({"settings": {"dropout": 1.0}}, "dropout"),
        ({"settings": {}}, "dropout"),
        ({"settings": {"dropout": 0.1, "deterministic_modules": ["layers.9"]}}, "deterministic_modules"),
        ({"method": "ensemble"}, "members"),
    ],
)
def test_a_posterior_that_cannot_be_drawn_is_not_written(changes, message, tmp_path, posterior_of, provenance):
    with pytest.raises(StateError, match=message):
        write_posterior(tmp_path, dataclasses.replace(posterior_of("mcdropout"), **changes), provenance)
    assert list(tmp_path.iterdir()) == []


def test_members_that_do_not_fit_are_refused(tmp_path, posterior_of, provenance, random_adapter):
    posterior = posterior_of("ensemble")
    with pytest.raises(StateError, match="other layers"):
        other = random_adapter(layers=[0], labels=3)
        write_posterior(tmp_path, dataclasses.replace(posterior, members=(posterior.mean, other)), provenance)
    with pytest.raises(StateError, match="member 0"):
        write_posterior(tmp_path, dataclasses.replace(posterior, members=posterior.members[1:]), provenance)


def test_modules_held_at_their_mean_need_no_tensors(tmp_path, posterior_of, provenance):
    posterior = posterior_of("blob")
    del posterior.tensors[f"{NAME}.standard_deviation"]
    held = dataclasses.replace(posterior, settings={"deterministic_modules": [NAME]})
    write_posterior(tmp_path, held, provenance)
    assert read_posterior(tmp_path).settings == {"deterministic_modules": [NAME]}


def test_labels_that_do_not_fit_the_head_are_refused(tmp_path, posterior_of, provenance):
    with pytest.raises(StateError, match="differ in number"):
        dataclasses.replace(provenance, labels=("A", "B"))
    with pytest.raises(StateError, match="does not fit"):
        wide = dataclasses.replace(provenance, head_rows=torch.randn(3, 16))
        write_posterior(tmp_path, posterior_of("mle"), wide)
