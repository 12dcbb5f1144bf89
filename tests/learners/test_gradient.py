"""MAML and its relatives: the identities that define them, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from derivatives import numerical

import jmeta as jm
from jmeta.trees import path_name

pytestmark = pytest.mark.usefixtures("float64")


NET = jm.networks.mlp([1, 4, 1], activation=jnp.tanh)
"""Smooth, so that finite differences mean something."""


def start():
    return jax.tree.map(lambda leaf: jnp.asarray(np.float64(leaf)), NET.init(jax.random.key(0)))


def task(seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (8, 1))
    return jm.Task(jm.Batch(x[:4], np.sin(3 * x[:4])), jm.Batch(x[4:], np.sin(3 * x[4:])), None, None)


def loss_on(batch, weights):
    return jm.squared_error(NET.apply(weights, batch.inputs), batch.targets)[0]


SLOPE = jax.jit(jax.grad(lambda weights, batch: loss_on(batch, weights)))


def descend(weights, batch, rate, steps):
    """The inner loop, written out."""
    for _ in range(steps):
        weights = jax.tree.map(lambda w, g: w - rate * g, weights, SLOPE(weights, batch))
    return weights


def meta_of(learner):
    return learner.init(jax.random.key(0))._replace(start=start())


def gradient(learner, meta=None):
    loss = jm.query_loss(learner, jm.squared_error)
    meta = meta_of(learner) if meta is None else meta
    return jax.jit(jax.grad(lambda m: loss(m, task())[0]))(meta)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


maml = partial(jm.maml, NET, jm.squared_error)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_adapting_is_gradient_descent(steps):
    learner = maml(steps=steps, numbers={"learning_rate": 0.1})
    fast = learner.adapt(meta_of(learner), task().support, None)
    expected = descend(start(), task().support, 0.1, steps)
    np.testing.assert_allclose(flat(fast), flat(expected), rtol=1e-12)


@pytest.mark.parametrize("remat", [False, True])
def test_the_gradient_of_maml_passes_through_the_inner_loop(remat):
    found = gradient(maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.unroll(remat)))

    def outer(weights):
        return loss_on(task().query, descend(weights, task().support, 0.1, 3))

    np.testing.assert_allclose(flat(found.start), flat(jax.jit(jax.grad(outer))(start())), rtol=1e-10)
    np.testing.assert_allclose(flat(found.start), numerical(outer, start(), 1e-6), atol=1e-7)


def test_first_order_maml_is_the_query_gradient_at_the_adapted_weights():
    found = gradient(maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.straight_through()))
    adapted = descend(start(), task().support, 0.1, 3)
    expected = SLOPE(adapted, task().query)
    np.testing.assert_allclose(flat(found.start), flat(expected), rtol=1e-12)


def test_the_gradient_of_the_displacement_is_reptiles_update():
    learner = maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.straight_through())
    meta = meta_of(learner)
    slope = jax.jit(jax.grad(lambda m: jm.displacement(learner)(m, task())[0]))(meta)
    adapted = descend(start(), task().support, 0.1, 3)
    np.testing.assert_array_equal(
        flat(slope.start), flat(meta.start) - flat(learner.adapt(meta, task().support, None))
    )
    np.testing.assert_allclose(flat(slope.start), flat(start()) - flat(adapted), rtol=1e-12)

    step = jm.meta_step(jm.displacement(learner), optax.sgd(0.25))
    tasks = jax.tree.map(lambda *leaves: np.stack(leaves), task(0), task(1))
    state, _ = jax.jit(step.update)(step.init(meta), tasks)
    adapted = [flat(descend(start(), task(seed).support, 0.1, 3)) for seed in (0, 1)]
    expected = flat(start()) + 0.25 * (np.mean(adapted, 0) - flat(start()))
    np.testing.assert_allclose(flat(state.meta.start), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "numbers"),
    [
        (optax.sgd, {"learning_rate": 0.1, "momentum": 0.5}),
        (optax.adam, {"learning_rate": 0.01, "eps": 1e-3}),
    ],
)
def test_any_optimiser_descends_and_its_numbers_can_be_learned(optimizer, numbers):
    learner = maml(steps=3, optimizer=optimizer, numbers=numbers, learn=tuple(numbers))
    meta = meta_of(learner)
    np.testing.assert_allclose(
        [np.exp(meta.numbers[name]) for name in numbers], list(numbers.values()), rtol=1e-6
    )
    found = gradient(learner, meta).numbers
    loss = jm.query_loss(learner, jm.squared_error)
    expected = numerical(lambda numbers: loss(meta._replace(numbers=numbers), task())[0], meta.numbers)
    np.testing.assert_allclose(flat(found), expected, atol=1e-8)


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(jm.InputError, match="steps is -1; give a whole number >= 0"):
        maml(steps=-1)
    with pytest.raises(jm.InputError, match="choose among the numbers"):
        maml(learn=("momentum",))
    with pytest.raises(jm.InputError, match=r"the initial value is 0.0; give a finite value above zero"):
        maml(numbers={"learning_rate": 0.0}, learn=("learning_rate",))
    with pytest.raises(jm.InputError, match="learn is the string"):
        maml(learn="learning_rate")
    with pytest.raises(jm.InputError, match="learning_rate is nan"):
        maml(numbers={"learning_rate": float("nan")})
    with pytest.raises(jm.InputError, match=r"cannot be built from \['rate'\]"):
        maml(numbers={"rate": 0.1})
    with pytest.raises(jm.InputError, match="adapts holds for none"):
        meta_of(maml(adapts=lambda path: path.startswith("head")))
    learner = maml()
    with pytest.raises(jm.InputError, match="there are no targets"):
        learner.adapt(meta_of(learner), task().support._replace(targets=None), None)


def test_an_optimiser_without_numbers_is_given_none():
    learner = maml(optimizer=lambda: optax.sgd(0.1), numbers={})
    fast = learner.adapt(meta_of(learner), task().support, None)
    np.testing.assert_allclose(flat(fast), flat(descend(start(), task().support, 0.1, 1)), rtol=1e-12)


def linear():
    return jm.Model(lambda key: jnp.zeros(3), lambda w, x, weights=None: x @ w)


@pytest.mark.parametrize("solve", [jm.conjugate_gradient(3), jm.neumann(400)], ids=["cg", "neumann"])
def test_imaml_on_a_linear_model_is_its_closed_form(solve):
    """L(w) = mean (x w - y)^2 has H = 2 X^T X / n, so w* = (H + lambda)^-1 (2 X^T y / n + lambda w0)."""
    random = np.random.default_rng(0)
    x, y, w0 = (random.normal(size=shape) for shape in ((5, 3), (5,), (3,)))
    strength, hessian = 0.7, 2 * x.T @ x / 5
    system = hessian + strength * np.eye(3)
    learner = jm.maml(
        linear(),
        jm.squared_error,
        steps=400,
        numbers={"learning_rate": 0.1},
        proximal=strength,
        diff=jm.implicit(solve),
    )
    meta = learner.init(jax.random.key(0))._replace(start=w0)
    support = jm.Batch(x, y)
    expected = np.linalg.solve(system, 2 * x.T @ y / 5 + strength * w0)
    np.testing.assert_allclose(learner.adapt(meta, support, None), expected, atol=1e-9)
    jacobian = jax.jit(jax.jacrev(lambda m: learner.adapt(m, support, None)))(meta).start
    np.testing.assert_allclose(jacobian, strength * np.linalg.inv(system), atol=1e-6)


def test_the_proximal_term_unrolled_is_a_penalty_written_out():
    learner = maml(steps=3, numbers={"learning_rate": 0.2}, proximal=0.5)

    def expected(weights0):
        weights = weights0
        for _ in range(3):
            slope = SLOPE(weights, task().support)
            weights = jax.tree.map(lambda w, g, s: w - 0.2 * (g + 0.5 * (w - s)), weights, slope, weights0)
        return loss_on(task().query, weights)

    found = gradient(learner).start
    np.testing.assert_allclose(flat(found), flat(jax.jit(jax.grad(expected))(start())), rtol=1e-9)


def test_a_predicate_says_what_the_descent_may_touch():
    body = maml(steps=2, numbers={"learning_rate": 0.3}, adapts=lambda path: path.startswith("layers/0"))
    fast = body.adapt(meta_of(body), task().support, None)
    moved = jax.tree_util.tree_map_with_path(
        lambda path, a, b: (path_name(path), bool(np.any(a != b))), fast, start()
    )
    found = dict(jax.tree.leaves(moved, is_leaf=lambda leaf: isinstance(leaf, tuple)))
    assert found
    assert all(changed == path.startswith("layers/0") for path, changed in found.items())


def test_anil_on_features_is_maml_of_the_last_layer_alone():
    def head_apply(weights, inputs, ones=None):
        return inputs @ weights["kernel"] + weights["bias"]

    def body_apply(weights, inputs, ones=None):
        return jnp.tanh(inputs @ weights["kernel"] + weights["bias"])

    def whole_apply(weights, inputs, ones=None):
        return head_apply(weights["head"], body_apply(weights["body"], inputs))

    random = np.random.default_rng(1)
    layers = [
        {"kernel": jnp.asarray(random.normal(size=shape)), "bias": jnp.asarray(random.normal(size=shape[1]))}
        for shape in ((1, 4), (4, 1))
    ]
    options = dict(steps=3, numbers={"learning_rate": 0.1})
    head = jm.maml(jm.Model(lambda key: layers[1], head_apply), jm.squared_error, **options)
    anil = jm.on_features(jm.Model(lambda key: layers[0], body_apply), head)
    whole = jm.maml(
        jm.Model(lambda key: {"body": layers[0], "head": layers[1]}, whole_apply),
        jm.squared_error,
        adapts=lambda path: path.startswith("head"),
        **options,
    )
    by_features = gradient(anil, anil.init(jax.random.key(0)))
    by_predicate = gradient(whole, whole.init(jax.random.key(0))).start
    np.testing.assert_allclose(flat(by_features.body), flat(by_predicate["body"]), rtol=1e-9)
    np.testing.assert_allclose(flat(by_features.head.start), flat(by_predicate["head"]), rtol=1e-9)


def test_a_ridge_head_is_scikit_learns():
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(2)
    x, labels, weights = random.normal(size=(7, 9)), np.arange(7) % 3, random.uniform(0.2, 1, 7)
    weights[6] = 0
    learner = jm.ridge(ways=3, penalty=0.3)
    support = jm.Batch(np.where(weights[:, None] > 0, x, np.nan), labels, weights)
    fast = learner.adapt(learner.init(jax.random.key(0)), support, None)
    ones = np.concatenate([x, np.ones((7, 1))], 1)
    model = Ridge(alpha=0.3, fit_intercept=False).fit(ones, np.eye(3)[labels], sample_weight=weights)
    np.testing.assert_allclose(learner.predict(fast, x), model.predict(ones), atol=1e-9)
    with pytest.raises(jm.InputError, match="needs them"):
        learner.adapt(learner.init(jax.random.key(0)), jm.Batch(jnp.ones((2, 2))), None)
    with pytest.raises(jm.InputError, match="positive numbers"):
        jm.ridge(ways=3, penalty=0)
    with pytest.raises(jm.InputError, match="proximal"):
        maml(proximal=-1.0)


ROOTS = ["adam", "adamw", "nadam", "nadamw", "radam", "amsgrad", "lamb", "novograd", "adabelief", "rmsprop"]


@pytest.mark.parametrize("name", ROOTS)
def test_inner_optimisers_with_a_square_root_have_a_derivative_behind_dead_units(name):
    ones = np.ones((3, 1))  # of minus one some units are dead, and their gradients exactly zero
    net, support = jm.networks.mlp([1, 8, 1]), jm.Batch(-ones, ones)
    learner = jm.maml(net, jm.squared_error, steps=2, optimizer=getattr(optax, name))

    def outputs(meta):
        return jnp.sum(learner.predict(learner.adapt(meta, support, None), support.inputs))

    leaves = jax.tree.leaves(jax.jit(jax.grad(outputs))(learner.init(jax.random.key(0))))
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    assert any(np.any(leaf != 0) for leaf in leaves)


def test_the_number_in_the_root_of_adam_changes_no_step():
    plain, safe = (maml(steps=3, optimizer=o) for o in (optax.adam, partial(optax.adam, eps_root=1e-30)))
    fast = [flat(learner.adapt(meta_of(learner), task().support, None)) for learner in (plain, safe)]
    np.testing.assert_allclose(*fast, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(optimizer=lambda learning_rate: optax.adam(learning_rate)),
            "no finite derivative .* give it eps_root=1e-16",
        ),
        (
            dict(optimizer=optax.adam, numbers={"learning_rate": jm.per_leaf(0.1)}),
            r"end a chain by descent\(learning_rate\)",
        ),
        (dict(optimizer=optax.lbfgs, numbers={}), "cannot take a step"),
    ],
    ids=["no derivative", "a tree of rates", "a line search"],
)
def test_an_inner_optimiser_that_cannot_be_used_is_refused_when_weights_are_made(options, message):
    with pytest.raises(jm.InputError, match=message):
        jax.jit(maml(**options).init)(jax.random.key(0))


def test_what_these_sentences_advise_is_taken():
    def clipped_adam(learning_rate):
        adam = optax.scale_by_adam(eps_root=1e-16)
        return optax.chain(optax.clip_by_global_norm(1.0), adam, jm.descent(learning_rate))

    rates = {"learning_rate": jm.per_leaf(0.1)}
    learner = maml(optimizer=clipped_adam, numbers=rates, learn=("learning_rate",))
    assert jnp.all(jnp.isfinite(flat(learner.adapt(meta_of(learner), task().support, None))))


def test_rules_by_which_nothing_would_be_learned_are_refused():
    for diff in (jm.implicit(jm.neumann(2)), jm.one_step(), jm.truncate(1)):
        with pytest.raises(jm.InputError, match="so that nothing would be learned"):
            maml(diff=diff)
        maml(diff=diff, proximal=0.5)
        with pytest.raises(jm.InputError, match="no derivative to the initial centers"):
            jm.soft_kmeans(2, diff=diff, learn=("centers",), centers=np.eye(2))
    with pytest.raises(jm.InputError, match=r"what learn names, \['learning_rate'\]"):
        maml(diff=jm.straight_through(), learn=("learning_rate",))
    for diff in (jm.unroll(), jm.straight_through(), None):
        jm.sinkhorn_kmeans(2, diff=diff, learn=("centers", "temperature"), centers=np.eye(2))
