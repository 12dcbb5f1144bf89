"""Mistakes that are easily made with the parts of meta-learning, each answered by one sentence."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm

KEY = jax.random.key(0)
NET = jm.networks.mlp([1, 4, 1])
LEARNER = jm.maml(NET, jm.squared_error)


def task(key):
    x = jax.random.normal(key, (3, 1))
    return jm.Task(jm.Batch(x, x), jm.Batch(x, x), None, key)


def step(loss=None):
    return jm.meta_step(loss or jm.query_loss(LEARNER, jm.squared_error), optax.sgd(0.1))


def state():
    return step().init(LEARNER.init(KEY))


def train(sampler, loss=None):
    return lambda: jm.train(step(loss), sampler, state(), KEY, steps=1, tasks=2)


def spoiled(change):
    """A sampler that leaves jax to change what it has drawn."""
    return lambda key: task(key)._replace(support=jm.Batch(*[change(task(key).support.inputs)] * 2))


OUTSIDE = "the sampler uses NumPy or Python on what it draws"
MISTAKES = {
    "a loss without metrics": (
        train(task, lambda meta, task: jnp.zeros(())),
        "an array of shape ();",
    ),
    "a loss of every point": (train(task, lambda meta, task: (jnp.zeros(3), {})), "of shape (3,), a dict)"),
    "NumPy in a sampler": (train(spoiled(np.sin)), OUTSIDE),
    "a loop over a draw": (train(spoiled(lambda x: x[: int(3 + 0 * x[0, 0])])), OUTSIDE),
    "a draw that decides": (train(spoiled(lambda x: x if x[0, 0] > 0 else -x)), OUTSIDE),
    "NumPy in what is evaluated": (
        lambda: jm.evaluate(LEARNER, spoiled(np.sin), state().meta, KEY, tasks=2),
        OUTSIDE,
    ),
    "a sampler without a key": (train(lambda: task(KEY)), "the sampler cannot take a key"),
    "a rule that was not called": (lambda: jm.maml(NET, jm.squared_error, diff=jm.unroll), "diff is unroll"),
    "a rule of clusters that was not called": (
        lambda: jm.cluster(jm.soft_kmeans(2, diff=jm.implicit), np.eye(4), key=KEY),
        "diff is implicit",
    ),
    "a rule by name": (lambda: jm.maml(NET, jm.squared_error, diff="unroll"), "diff is 'unroll'"),
    "a state for meta-parameters": (
        lambda: jm.evaluate(LEARNER, task, state(), KEY, tasks=2),
        "give its meta-parameters, state.meta",
    ),
    "a state for parameters": (
        lambda: jm.soft_kmeans(2).fit(state(), jm.Batch(jnp.eye(4)), KEY),
        "give its meta-parameters, state.meta",
    ),
}
BUILDERS = {
    "maml": lambda model: jm.maml(model, jm.squared_error),
    "prototypes": lambda model: jm.prototypes(model, ways=2),
    "matching": lambda model: jm.matching(model, ways=2),
    "centroids": lambda model: jm.centroids(model, jm.kmeans(2)),
    "on_features": lambda model: jm.on_features(model, jm.ridge(ways=2)),
    "embedded": lambda model: jm.embedded(model, jm.kmeans(2)),
    "zero_shot": lambda model: jm.zero_shot(2, model=model),
    "amortized_mixture": lambda model: jm.amortized_mixture(model, 2),
}


@pytest.mark.parametrize("case", list(MISTAKES))
def test_a_mistake_is_answered_by_one_sentence(case):
    run, message = MISTAKES[case]
    with pytest.raises(jm.InputError) as caught:
        run()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(BUILDERS))
@pytest.mark.parametrize("model", [flax.linen.Dense(1), lambda x: x], ids=["flax", "function"])
def test_a_model_without_the_functions_of_one_is_refused(name, model):
    with pytest.raises(jm.InputError, match=f"the model of {name} is a .*; give a Model"):
        BUILDERS[name](model)
