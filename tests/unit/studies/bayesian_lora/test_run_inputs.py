from pathlib import Path

import numpy as np
import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.models.process_group import agreed_values, launch_command
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.bayesian_lora.run_inputs import base_model

ZERO3 = Path(__file__).parents[4] / "config" / "deepspeed" / "zero3.json"


@pytest.mark.parametrize("method", ["laplace", "laplace_kronecker"])
def test_gradients_of_single_questions_need_a_whole_base(fit_spec, method):
    inputs = RunInputs(Path(), {}, model=Path("absent"), model_revision="0", sharding=ZERO3)
    with pytest.raises(ConfigurationError, match="whole in one process"):
        base_model(fit_spec(method), inputs)


def test_quantised_base_is_not_divided(fit_spec):
    inputs = RunInputs(Path(), {}, model=Path("absent"), model_revision="0", sharding=ZERO3)
    with pytest.raises(ConfigurationError, match="cannot be quantised"):
        base_model(fit_spec("mle", precision="nf4"), inputs)


def test_a_process_alone_agrees_with_itself():
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(agreed_values(values), values)


def test_launcher_hands_the_arguments_on():
    command = launch_command(3, ["run", "--job", "{}"])
    assert "--nproc-per-node=3" in command
    assert command[-5:] == ["-m", "bayesgrid.cli", "run", "--job", "{}"]
