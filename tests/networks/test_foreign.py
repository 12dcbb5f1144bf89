"""Networks of Flax and Equinox as models: their own outputs, random in inner loops alone; what is refused."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jmeta as jm

X = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
SUPPORT = jm.Batch(jnp.asarray(X), jnp.arange(6) % 3)
KEY = jax.random.key(1)


class Linen(nn.Module):
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(self.rate, deterministic=not train)(jnp.tanh(nn.Dense(8)(x)))
        return nn.Dense(3)(x)


class Nnx(nnx.Module):
    def __init__(self, rate, rngs):
        self.first, self.last = nnx.Linear(2, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.again = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.last(self.again(self.dropout(jnp.tanh(self.first(x)))))


def linen(rate=0.5):
    return jm.from_linen(Linen(rate), X, options={"train": False}, training={"train": True})


def of_nnx(rate=0.5):
    return jm.from_nnx(lambda rngs: Nnx(rate, rngs))


def of_equinox(rate=0.5):
    equinox = pytest.importorskip("equinox")

    def build(key):
        first, last = jax.random.split(key)
        layers = [
            equinox.nn.Linear(2, 8, key=first),
            equinox.nn.Lambda(jnp.tanh),
            equinox.nn.Dropout(rate),
            equinox.nn.Linear(8, 3, key=last),
        ]
        return equinox.nn.Sequential(layers)

    return jm.from_equinox(build)


MODELS = {"linen": linen, "nnx": of_nnx, "equinox": of_equinox}
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def test_a_linen_module_gives_its_own_outputs():
    params = linen().init(jax.random.key(0))
    expected = Linen().apply({"params": params}, X, train=False)
    np.testing.assert_allclose(linen().apply(params, X), expected, rtol=1e-6)


def test_a_module_of_nnx_gives_its_own_outputs():
    module = Nnx(0.5, nnx.Rngs(jax.random.key(0)))
    module.eval()
    model = of_nnx()
    np.testing.assert_allclose(model.apply(model.init(jax.random.key(0)), X), module(X), rtol=1e-6)
    assert jm.from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs)).stochastic is None


def test_a_module_of_equinox_gives_its_own_outputs():
    equinox = pytest.importorskip("equinox")
    module = equinox.nn.MLP(2, 3, 8, 1, key=jax.random.key(0))
    model = jm.from_equinox(lambda key: equinox.nn.MLP(2, 3, 8, 1, key=key))
    params = model.init(jax.random.key(0))
    np.testing.assert_allclose(model.apply(params, X), jax.vmap(module)(X), rtol=1e-6)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


@models
def test_outputs_are_random_with_a_key_and_only_then(make):
    model = make()
    params = model.init(jax.random.key(0))
    one, same, other = (model.stochastic(params, X, None, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(model.apply(params, X), model.apply(params, X, jnp.ones(6)))


@models
def test_inner_steps_are_random_by_the_key_of_the_task_and_predictions_are_not(make):
    model = make()
    learner = jm.maml(model, jm.cross_entropy, steps=2, numbers={"learning_rate": 0.1})
    meta = learner.init(jax.random.key(0))
    adapt = jax.jit(learner.adapt)
    fast, same, other = (adapt(meta, SUPPORT, jax.random.key(seed)) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, fast, same)
    assert not np.allclose(jax.tree.leaves(fast)[0], jax.tree.leaves(other)[0])
    np.testing.assert_array_equal(learner.predict(fast, X), model.apply(fast, X))


def test_without_dropout_all_is_as_without_a_key():
    """The same learner with a rate of zero, whose key changes nothing; the gradient passes."""
    random, task = of_nnx(0.0), jm.Task(SUPPORT, SUPPORT, None, KEY)

    def slope(model):
        learner = jm.maml(model, jm.cross_entropy, steps=2)
        loss = jm.query_loss(learner, jm.cross_entropy)
        return jax.jit(jax.grad(lambda meta: loss(meta, task)[0]))(learner.init(jax.random.key(0)))

    slopes = slope(random), slope(random._replace(stochastic=None))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *slopes)
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(slopes[0]))


def test_cavia_and_fewer_bits_keep_the_randomness():
    low = jm.networks.in_precision(of_nnx())
    params = low.init(jax.random.key(0))
    one, other = (low.stochastic(params, X, None, jax.random.key(seed)) for seed in (1, 2))
    assert not np.allclose(one, other)
    wide = jm.from_linen(Linen(), np.ones((1, 4)), options={"train": False}, training={"train": True})
    learner = jm.cavia(wide, jm.cross_entropy, size=2)
    meta = learner.init(jax.random.key(0))
    contexts = [learner.adapt(meta, SUPPORT, jax.random.key(seed))["context"] for seed in (1, 2)]
    assert not np.allclose(*contexts)


def test_running_statistics_are_refused():
    with pytest.raises(jm.InputError, match=r"from_linen holds batch_stats .* LayerNorm"):
        jm.from_linen(nn.BatchNorm(use_running_average=False), X)
    with pytest.raises(jm.InputError, match=r"from_nnx holds BatchStat .* LayerNorm"):
        jm.from_nnx(lambda rngs: nnx.BatchNorm(2, rngs=rngs))


def test_running_statistics_of_equinox_are_refused():
    equinox = pytest.importorskip("equinox")
    with pytest.raises(jm.InputError, match=r"from_equinox holds StateIndex .* LayerNorm"):
        jm.from_equinox(lambda key: equinox.nn.BatchNorm(2, "batch", mode="batch"))
    with pytest.raises(jm.InputError, match="from_equinox needs a function"):
        jm.from_equinox(equinox.nn.Linear(2, 3, key=KEY))


def test_what_is_no_module_is_refused(monkeypatch):
    with pytest.raises(jm.InputError, match=r"give a module of flax.linen, such as Dense\(3\)"):
        jm.from_linen(nn.Dense, X)
    with pytest.raises(jm.InputError, match="give its further arguments as options"):
        jm.from_linen(Linen(), X)
    for one in (nnx.Linear(2, 3, rngs=nnx.Rngs(0)), lambda rngs: 3):
        with pytest.raises(jm.InputError, match="needs a function that builds a module"):
            jm.from_nnx(one)
    monkeypatch.setitem(sys.modules, "equinox", None)
    with pytest.raises(jm.InputError, match="Equinox is not installed; pip install equinox"):
        jm.from_equinox(lambda key: None)


TAKE_MODELS = {
    "maml": lambda model: jm.maml(model, jm.cross_entropy),
    "cavia": lambda model: jm.cavia(model, jm.cross_entropy, size=2),
    "on_features": lambda model: jm.on_features(model, jm.ridge(ways=2)),
    "centroids": lambda model: jm.centroids(model, jm.soft_kmeans(2)),
    "prototypes": lambda model: jm.prototypes(model, ways=2),
    "matching": lambda model: jm.matching(model, ways=2),
    "embedded": lambda model: jm.embedded(model, jm.soft_kmeans(2)),
    "amortized_mixture": lambda model: jm.amortized_mixture(model, 2),
    "zero_shot": lambda model: jm.zero_shot(2, model=model),
    "pair_loss": lambda model: jm.pair_loss(model, jm.soft_kmeans(2)),
    "in_precision": jm.networks.in_precision,
}


@pytest.mark.parametrize("name", TAKE_MODELS)
def test_a_module_in_the_place_of_a_model_is_refused_with_the_way_to_make_one(name):
    for module, function in ((nn.Dense(3), "from_linen"), (nnx.Linear(2, 3, rngs=nnx.Rngs(0)), "from_nnx")):
        with pytest.raises(
            jm.InputError, match=rf"^the model of {name} is .*; give a Model, as made by jm\.{function}\.$"
        ):
            TAKE_MODELS[name](module)
    with pytest.raises(jm.InputError, match=rf"^the model of {name} is a int; give a Model"):
        TAKE_MODELS[name](3)


def test_augmented_inputs_are_a_network_of_ones_own_with_a_key_for_every_step():
    """Two steps by hand; the shift of each step follows from the key of the task."""
    net = jm.networks.mlp([2, 3])

    def shifted(params, inputs, weights, key):
        return net.apply(params, inputs + jax.random.normal(key, inputs.shape), weights)

    model = jm.Model(net.init, net.apply, shifted)
    learner = jm.maml(model, jm.cross_entropy, steps=2, numbers={"learning_rate": 0.1})
    meta = learner.init(jax.random.key(0))

    @jax.jit
    def descended(weights, step):
        step_key = jax.random.fold_in(jax.random.split(KEY)[1], step)
        moved = SUPPORT.inputs + jax.random.normal(step_key, X.shape)
        slope = jax.grad(lambda w: jm.cross_entropy(net.apply(w, moved), SUPPORT.targets)[0])(weights)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, slope)

    expected = descended(descended(meta.start, 0), 1)
    found = learner.adapt(meta, SUPPORT, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
