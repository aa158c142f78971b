import keras
import numpy as np
import pytest

from xraylib.network.machinery.fast import OnePassAdam


def trained(optimizer) -> list[np.ndarray]:
    """Fit a small network for some steps; returns its weights and the optimizer's moments."""
    keras.utils.set_random_seed(3)
    x, y = np.random.default_rng(0).normal(size=(2, 40, 6)).astype(np.float32)
    network = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(6)]
    )
    network.compile(optimizer, "mse")
    network.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    moments = [variable.numpy() for variable in optimizer.variables if len(variable.shape)]
    return network.get_weights() + moments


@pytest.mark.parametrize("rate", [0.01, keras.optimizers.schedules.InverseTimeDecay(0.01, 1, 0.1)])
def test_the_weights_and_moments_are_those_of_keras(rate):
    ours, theirs = trained(OnePassAdam(rate)), trained(keras.optimizers.Adam(rate))
    assert len(ours) == len(theirs) == 4 + 8
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_step_count_moves_on():
    optimizer = OnePassAdam(0.01)
    trained(optimizer)
    assert int(optimizer.iterations.numpy()) == 15
