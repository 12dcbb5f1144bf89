"""One new task: the entry points agree with the learner's own functions, and say what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jmeta as jm

KEY = jax.random.key(1)
X = np.random.default_rng(0).normal(size=(6, 2))
Y = np.arange(6) % 3
NET = jm.from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
LEARNER = jm.maml(NET, jm.cross_entropy, steps=2)
META = LEARNER.init(jax.random.key(0))


def test_they_agree_with_the_functions_of_a_learner():
    fast = jm.adapt(LEARNER, META, X, Y, key=KEY)
    expected = LEARNER.adapt(META, jm.Batch(jnp.asarray(X), jnp.asarray(Y)), KEY)
    jax.tree.map(np.testing.assert_array_equal, fast, expected)
    np.testing.assert_array_equal(jm.predict(LEARNER, fast, X), LEARNER.predict(expected, jnp.asarray(X)))
    traced = jax.jit(lambda x: jm.predict(LEARNER, jm.adapt(LEARNER, META, x, Y, key=KEY), x))(X)
    np.testing.assert_allclose(traced, jm.predict(LEARNER, fast, X), rtol=1e-5)


def test_a_clusterer_and_images_of_bytes_are_taken_too():
    clusterer = jm.kmeans(2)
    images = np.repeat(np.array([[0], [255]], np.uint8), 3, 0)
    fast = jm.adapt(clusterer, {}, images, weights=np.array([1, 1, 1, 1, 1, 0.0]), key=KEY)
    labels = jm.predict(clusterer, fast, images).argmax(-1)
    assert len(set(labels[:3].tolist())) == len(set(labels[3:].tolist())) == 1
    assert float(jnp.abs(fast[1].centers).max()) == 1


REFUSED = {
    "is no learner": dict(learner=jm.networks.mlp([2, 3])),
    "give a typed key": dict(key=0),
    "meta is not what the learner's init makes; give its meta-parameters, such as state.meta": dict(
        meta=(META, 3)
    ),
    r"meta holds an array of shape \(4,\)": dict(meta=jax.tree.map(lambda leaf: jnp.ones(4), META)),
    r"inputs have shape \(\) ": dict(inputs=3.0),
    r"inputs have shape \(0, 2\)": dict(inputs=np.ones((0, 2)), targets=np.ones(0)),
    "inputs hold NaN or infinity": dict(inputs=X * np.nan),
    "6 inputs have 5 targets": dict(targets=Y[:5]),
    "6 inputs have 2 weights": dict(weights=np.ones(2)),
    "weights are negative, or all zero": dict(weights=np.zeros(6)),
    r"the learner cannot adapt to inputs of shape \(6, 5\)": dict(inputs=np.ones((6, 5))),
    "adaptation to this task diverged": dict(inputs=X * 1e38),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused(sentence):
    given = dict(learner=LEARNER, meta=META, inputs=X, targets=Y, key=KEY) | REFUSED[sentence]
    with pytest.raises(jm.InputError, match=sentence):
        jm.adapt(given.pop("learner"), given.pop("meta"), given.pop("inputs"), **given)


def test_predictions_for_other_rows_are_refused():
    fast = jm.adapt(LEARNER, META, X, Y, key=KEY)
    for sentence, rows in {
        "hold NaN": X * np.nan,
        r"cannot predict inputs of shape \(6, 5\)": np.ones((6, 5)),
    }.items():
        with pytest.raises(jm.InputError, match=sentence):
            jm.predict(LEARNER, fast, rows)
