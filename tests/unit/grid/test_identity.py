"""Run identity: what moves an id, and what must not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.identity import canonical_json, identity_record, run_id
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.registry import study_names, study_specification
from bayesgrid.grid.specification import RunSpec
from bayesgrid.studies.regression.spec import RegressionSpec

LOCKS = Path(__file__).parent
DATA_VERSIONS = {"diamonds": "v1-000000000000"}


class _Group(Parameters):
    rate: float = 0.1
    steps: int = 10


class _Toy(RunSpec):
    study = "toy"
    revision = 1
    entry_point = "nowhere:run"
    method: str
    group: _Group = _Group()

    def slug(self):
        return f"toy-{self.method}"


def toy_id(parameters, specification=_Toy):
    spec = specification.from_parameters(parameters, where="test")
    return run_id(spec.slug(), identity_record(spec, data_versions={}))


def test_golden_ids_have_not_moved():
    golden = json.loads((LOCKS / "golden_ids.json").read_text())
    assert len(golden) >= 20
    for entry in golden:
        spec = study_specification(entry["study"]).from_parameters(entry["parameters"], where="golden")
        record = identity_record(
            spec,
            data_versions=entry["data_versions"],
            model_revision=entry.get("model_revision"),
            needs=entry.get("needs"),
        )
        assert run_id(spec.slug(), record) == entry["id"], "an id moved: old results are lost to every user"


def test_defaults_are_frozen_for_each_revision():
    frozen = json.loads((LOCKS / "frozen_defaults.json").read_text())
    for study in study_names():
        specification = study_specification(study)
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in specification.model_fields.items()
            if not field.is_required()
        }
        plain = {
            name: value.model_dump(mode="json") if isinstance(value, Parameters) else value
            for name, value in defaults.items()
        }
        plain = json.loads(json.dumps(plain))
        entry = frozen[study]
        if specification.revision != entry["revision"]:
            pytest.fail(f"revision of {study} was raised: write its defaults to frozen_defaults.json again")
        for key, value in _flat(entry["defaults"]).items():
            assert _flat(plain).get(key, value) == value, f"default of {study}.{key} changed without a new revision"


def _flat(values, prefix=""):
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def test_writing_a_default_out_keeps_the_id():
    assert toy_id({"method": "a", "seeds": [0]}) == toy_id(
        {"method": "a", "seeds": [0], "group": {"rate": 0.1, "steps": 10}}
    )


def test_a_new_parameter_with_a_default_keeps_the_id():
    class WiderGroup(Parameters):
        rate: float = 0.1
        steps: int = 10
        momentum: float = 0.9

    class Wider(RunSpec):
        study = "toy"
        revision = 1
        entry_point = "nowhere:run"
        method: str
        group: WiderGroup = WiderGroup()
        extra: int = Field(default=3, ge=0)

        def slug(self):
            return f"toy-{self.method}"

    parameters = {"method": "a", "seeds": [1], "group": {"rate": 0.5}}
    assert toy_id(parameters, Wider) == toy_id(parameters)
    assert toy_id({**parameters, "extra": 4}, Wider) != toy_id(parameters)


@pytest.mark.parametrize(
    "changed",
    [{"method": "b"}, {"seeds": [1]}, {"seeds": [0, 1]}, {"group": {"rate": 0.2}}, {"group": {"steps": 11}}],
)
def test_every_parameter_moves_the_id(changed):
    base = {"method": "a", "seeds": [0]}
    assert toy_id({**base, **changed}).rpartition("-")[2] != toy_id(base).rpartition("-")[2]


def test_revision_data_version_and_needed_runs_move_the_id():
    spec = _Toy(method="a", seeds=(0,))
    records = [
        identity_record(spec, data_versions={}),
        identity_record(spec, data_versions={"x": "v1"}),
        identity_record(spec, data_versions={"x": "v2"}),
        identity_record(spec, data_versions={}, model_revision="abc"),
        identity_record(spec, data_versions={}, needs={"mle": "run-1"}),
        {**identity_record(spec, data_versions={}), "revision": 2},
    ]
    assert len({run_id("toy", record) for record in records}) == len(records)


@given(st.permutations([0, 3, 5, 8]), st.permutations(["rate", "steps"]))
def test_order_of_keys_and_seeds_does_not_matter(seeds, keys):
    values = {"rate": 0.3, "steps": 7}
    group = {key: values[key] for key in keys}
    assert toy_id({"group": group, "seeds": list(seeds), "method": "a"}) == toy_id(
        {"method": "a", "seeds": [0, 3, 5, 8], "group": values}
    )


def test_an_integer_for_a_float_is_the_same_value():
    assert toy_id({"method": "a", "seeds": [0], "group": {"rate": 1}}) == toy_id(
        {"method": "a", "seeds": [0], "group": {"rate": 1.0}}
    )


def test_canonical_json_refuses_nan():
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": float("nan")})


def test_a_slug_that_is_no_file_name_is_refused():
    with pytest.raises(ConfigurationError, match="file name"):
        run_id("Not/A/Name", {"study": "toy"})


def test_the_slug_of_a_regression_run_is_readable():
    spec = RegressionSpec(dataset="diamonds", agent="random", seeds=(0, 1, 2))
    assert spec.slug() == "diamonds-spline_flow-random-q50-s0-2"
