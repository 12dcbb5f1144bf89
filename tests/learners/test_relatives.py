"""MAML's relatives with learned numbers: closed forms in float64, and that they learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from derivatives import numerical

import jmeta as jm

pytestmark = pytest.mark.usefixtures("float64")

NET = jm.networks.mlp([1, 4, 1], activation=jnp.tanh)
MEMORY = {
    "none": dict(gradient=jax.grad, diff=jm.unroll()),
    "remat": dict(gradient=jax.grad, diff=jm.unroll(remat=True)),
    "mixed": dict(gradient=jm.mixed_mode, diff=jm.unroll()),
    "mixed_remat": dict(gradient=jm.mixed_mode, diff=jm.unroll(remat=True)),
    "best": {},
}
"""Ways to go back through the inner loop; all give the same numbers."""
METHODS = {
    "maml": dict(numbers={"learning_rate": 0.05}, learn=("learning_rate",)),
    "meta_sgd": dict(numbers={"learning_rate": jm.per_weight(jm.signed(0.05))}, learn=("learning_rate",)),
    "maml_plus_plus": dict(
        numbers={"learning_rate": jm.per_step(jm.per_leaf(0.05), 3)}, learn=("learning_rate",)
    ),
    "meta_curvature": dict(
        optimizer=jm.curvature, numbers={"learning_rate": 0.05, "factors": jm.factors()}, learn=("factors",)
    ),
    "adam": dict(
        optimizer=optax.adam, numbers={"learning_rate": 0.02, "eps": 1e-2}, learn=("learning_rate", "eps")
    ),
    "boil": dict(numbers={"learning_rate": 0.05}, adapts=lambda path: path.startswith("layers/0")),
    "proximal": dict(numbers={"learning_rate": 0.1}, proximal=0.5),
}
maml = partial(jm.maml, NET, jm.squared_error)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def doubles(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(np.float64(leaf)), tree)


def task(seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (8, 1))
    key = jax.random.key(seed)
    return jm.Task(jm.Batch(x[:4], np.sin(3 * x[:4])), jm.Batch(x[4:], np.sin(3 * x[4:])), None, key)


def outer(learner):
    loss = jm.query_loss(learner, jm.squared_error)
    return jax.jit(lambda meta: loss(meta, task())[0])


@pytest.mark.parametrize("method", list(METHODS))
def test_all_ways_to_go_back_agree_with_each_other_and_with_differences(method):
    """Of the start and of every learned number."""
    learners = {name: maml(steps=3, **METHODS[method], **options) for name, options in MEMORY.items()}
    meta = doubles(learners["none"].init(jax.random.key(0)))

    @jax.jit
    def gradients(meta):
        return {name: jax.grad(outer(learner))(meta) for name, learner in learners.items()}

    found = {name: flat(gradient) for name, gradient in gradients(meta).items()}
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, found["none"], rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found["none"], numerical(outer(learners["none"]), meta, 1e-6), atol=2e-7)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_default_has_a_second_derivative_in_either_mode(steps):
    """Of the start and of a learned rate, over loops of one step and of several."""
    options = dict(steps=steps, numbers={"learning_rate": 0.05}, learn=("learning_rate",))
    default, unrolled = maml(**options), maml(gradient=jax.grad, diff=jm.unroll(), **options)
    meta = doubles(default.init(jax.random.key(0)))
    along = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size).reshape(leaf.shape)), meta)

    def products(learner):
        slope = jax.grad(outer(learner))
        yield jax.grad(lambda meta: optax.tree.vdot(slope(meta), along))(meta)
        yield jax.jvp(slope, (meta,), (along,))[1]
        yield jax.grad(lambda meta: jax.jvp(outer(learner), (meta,), (along,))[1])(meta)

    expected = numerical(lambda meta: optax.tree.vdot(jax.grad(outer(unrolled))(meta), along), meta, 1e-5)
    for found in jax.jit(lambda: [*products(default), *products(unrolled)])():
        np.testing.assert_allclose(flat(found), expected, rtol=1e-6, atol=1e-7)


def quadratic(curvatures):
    """A model whose support loss is  sum_d a_d (w_d - y_d)^2 / 2  at the mean of the targets."""
    return jm.Model(lambda key: jnp.zeros(len(curvatures)), lambda w, x, weights=None: w)


def quadratic_loss(curvatures):
    def loss(outputs, targets, weights=None):
        value = jnp.sum(curvatures * (outputs - targets) ** 2) / 2
        return value, {"mse": value}

    return loss


def test_meta_sgd_on_a_quadratic_is_its_closed_form():
    """One step from w0: w = w0 - r a (w0 - y), query loss sum a (w - z)^2 / 2; also with a negative rate."""
    a, rate = np.array([1.0, 4.0]), np.array([0.3, -0.1])
    start, y, z = np.array([1.0, -2.0]), np.array([0.5, 1.0]), np.array([-1.0, 0.2])
    learner = jm.maml(
        quadratic(a),
        quadratic_loss(a),
        numbers={"learning_rate": jm.per_weight(jm.signed(0.1))},
        learn=("learning_rate",),
    )
    meta = learner.init(jax.random.key(0))._replace(start=start, numbers={"learning_rate": rate})
    shown = jm.Task(jm.Batch(np.zeros((1, 1)), y), jm.Batch(np.zeros((1, 1)), z), None, None)
    loss = jm.query_loss(learner, quadratic_loss(a))
    found = jax.jit(jax.grad(lambda m: loss(m, shown)[0]))(meta)
    fast = start - rate * a * (start - y)
    np.testing.assert_allclose(learner.adapt(meta, shown.support, None), fast, rtol=1e-12)
    slope = a * (fast - z)
    np.testing.assert_allclose(found.start, slope * (1 - rate * a), rtol=1e-12)
    np.testing.assert_allclose(found.numbers["learning_rate"], -slope * a * (start - y), rtol=1e-12)


def test_rates_per_step_and_leaf_are_those_of_descent_written_out():
    learner = maml(steps=3, **METHODS["maml_plus_plus"])
    meta = doubles(learner.init(jax.random.key(0)))
    rates = jax.tree.map(lambda leaf: np.log([0.3, 0.2, 0.1]) + leaf.size / 10, meta.numbers)
    weights, shown = meta.start, task().support
    slope = jax.jit(jax.grad(lambda w: jm.squared_error(NET.apply(w, shown.inputs), shown.targets)[0]))
    for i in range(5):
        at = jax.tree.map(lambda rate, i=i: np.exp(rate[min(i, 2)]), rates["learning_rate"])
        weights = jax.tree.map(lambda w, r, g: w - r * np.asarray(g), weights, at, slope(weights))
    longer = maml(steps=5, **METHODS["maml_plus_plus"])
    fast = longer.adapt(meta._replace(numbers=rates), task().support, None)
    np.testing.assert_allclose(flat(fast), flat(weights), rtol=1e-10)


def test_curvature_starts_as_descent_and_multiplies_every_axis():
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 2, 4))
    window, rows, columns = (random.normal(size=(n, n)) for n in (9, 2, 4))

    @jax.jit
    def updated(factors):
        return jm.curvature(0.1, {"k": factors}).update({"k": kernel}, optax.EmptyState())[0]["k"]

    found = updated([window, rows, columns])
    expected = np.einsum("ab,cd,ef,bdf->ace", window, rows, columns, kernel.reshape(9, 2, 4))
    np.testing.assert_allclose(found, -0.1 * expected.reshape(3, 3, 2, 4), rtol=1e-10)
    plain, curved = (maml(steps=2, **METHODS[name]) for name in ("maml", "meta_curvature"))
    metas = [doubles(learner.init(jax.random.key(0))) for learner in (plain, curved)]
    pairs = zip((plain, curved), metas, strict=True)
    fast = [flat(learner.adapt(meta, task().support, None)) for learner, meta in pairs]
    np.testing.assert_allclose(fast[1], fast[0], rtol=1e-6)


def test_the_multi_step_loss_is_the_weighted_sum_over_learners_of_fewer_steps():
    weights = [0.1, 0.2, 0.3, 0.4]
    learner = maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.every_step())
    meta = doubles(learner.init(jax.random.key(0)))
    loss = jm.multi_step_loss(learner, jm.squared_error, weights)

    def expected(meta):
        learners = [maml(steps=steps, numbers={"learning_rate": 0.1}) for steps in range(4)]
        return sum(w * outer(each)(meta) for w, each in zip(weights, learners, strict=True))

    value, slope = jax.jit(jax.value_and_grad(lambda m: loss(m, task())[0]))(meta)
    expected_value, expected_slope = jax.jit(jax.value_and_grad(expected))(meta)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    np.testing.assert_allclose(flat(slope), flat(expected_slope), rtol=1e-9)
    with pytest.raises(jm.InputError, match="give one for each"):
        jm.multi_step_loss(learner, jm.squared_error, weights[1:])(meta, task())


def test_first_order_gradients_keep_those_of_learned_rates():
    options = dict(steps=2, numbers={"learning_rate": 0.05}, learn=("learning_rate",))
    stopped = maml(**options, gradient=jm.first_order, diff=jm.unroll())
    meta = doubles(stopped.init(jax.random.key(0)))
    found = jax.jit(jax.grad(outer(stopped)))(meta)
    fixed = maml(**options | {"learn": ()}, diff=jm.straight_through())
    first = jax.jit(jax.grad(outer(fixed)))(meta._replace(numbers={}))
    np.testing.assert_allclose(flat(found.start), flat(first.start), rtol=1e-12)
    assert found.numbers["learning_rate"] != 0


def test_minibatches_go_round_the_support_in_one_random_order():
    """With one point a step and four steps, every point is descended on once."""
    model = jm.Model(lambda key: jnp.zeros(1), lambda w, x, weights=None: w * jnp.ones((len(x), 1)))

    def pull(outputs, targets, weights=None):
        return -jnp.sum(outputs * targets), {}

    targets = np.array([[1.0], [10.0], [100.0], [1000.0]])
    batch = jm.Batch(np.zeros((4, 1)), targets, np.ones(4), np.asarray(2))
    rate = {"learning_rate": 1.0}
    for steps, total in ((4, 1111), (8, 2222)):
        learner = jm.maml(model, pull, steps=steps, numbers=rate, minibatch=1)
        np.testing.assert_allclose(
            learner.adapt(learner.init(jax.random.key(0)), batch, jax.random.key(1)), total
        )
    padded = batch._replace(weights=np.array([1.0, 0, 0, 1]))  # drawn are the others alone
    learner = jm.maml(model, pull, steps=4, numbers=rate, minibatch=1)
    assert learner.adapt(learner.init(jax.random.key(0)), padded, jax.random.key(1)) == 2002
    none = padded._replace(weights=np.zeros(4))
    assert np.isfinite(learner.adapt(learner.init(jax.random.key(0)), none, jax.random.key(1)))
    one = jm.maml(model, pull, steps=1, numbers=rate, minibatch=1)
    firsts = {float(one.adapt(one.init(jax.random.key(0)), batch, jax.random.key(s))[0]) for s in range(20)}
    assert firsts == {1, 10, 100, 1000}
    with pytest.raises(jm.InputError, match="minibatch is 0"):
        maml(minibatch=0)


def test_cavia_descends_the_context_alone_from_zero():
    net = jm.networks.mlp([1 + 2, 4, 1], activation=jnp.tanh)
    learner = jm.cavia(net, jm.squared_error, size=2, steps=3, numbers={"learning_rate": 0.5})
    meta = doubles(learner.init(jax.random.key(0)))

    def on(batch, context, network):
        inputs = jnp.concatenate([batch.inputs, jnp.broadcast_to(context, (len(batch.inputs), 2))], 1)
        return jm.squared_error(net.apply(network, inputs), batch.targets)[0]

    def expected(network):
        context = jnp.zeros(2)
        for _ in range(3):
            context = context - 0.5 * jax.grad(partial(on, task().support))(context, network)
        return on(task().query, context, network)

    found = jax.jit(jax.grad(outer(learner)))(meta).start
    slope = jax.jit(jax.grad(expected))(meta.start["network"])
    np.testing.assert_allclose(flat(found["network"]), flat(slope), rtol=1e-9)
    np.testing.assert_array_equal(found["context"], 0)
    fast = learner.adapt(meta, task().support, None)
    np.testing.assert_array_equal(flat(fast["network"]), flat(meta.start["network"]))
    with pytest.raises(jm.InputError, match="size is 0"):
        jm.cavia(net, jm.squared_error, size=0)


def test_inductive_predictions_of_a_query_do_not_depend_on_the_others():
    net = jm.networks.conv4(2, shape=(8, 8, 1), outputs=2)
    images = np.random.default_rng(0).normal(size=(9, 8, 8, 1))
    support, queries = jm.Batch(images[:4], np.array([0, 0, 1, 1])), images[4:]
    plain = jm.maml(net, jm.cross_entropy, numbers={"learning_rate": 0.1})
    meta = doubles(plain.init(jax.random.key(0)))
    for learner, same in ((jm.inductive(plain), True), (plain, False)):
        fast = learner.adapt(meta, support, None)
        alone, among = learner.predict(fast, queries[:1])[0], learner.predict(fast, queries)[0]
        assert np.allclose(alone, among, rtol=1e-9) == same
    fast = jm.inductive(plain).adapt(meta, support, None)
    np.testing.assert_allclose(
        jm.inductive(plain).predict(fast, support.inputs), net.apply(fast[0], support.inputs), rtol=1e-9
    )


def test_memory_is_known_before_the_run_and_falls_with_the_mode():
    """Fifteen inner steps of a wide network: plain keeps every activation, the others the weights alone."""
    net = jm.networks.mlp([1, 8, 1])
    batch = jax.ShapeDtypeStruct((2, 500, 1), float)
    both = jm.Batch(batch, batch)
    tasks = jm.Task(both, both, None, jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2)))

    def needed(**options):
        learner = jm.maml(net, jm.squared_error, steps=15, **options)
        step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.sgd(0.1))
        state = jax.eval_shape(lambda: step.init(learner.init(jax.random.key(0))))
        return jm.memory_needed(step.update, state, tasks)

    found = {name: needed(**options) for name, options in MEMORY.items()}
    assert found["none"].arguments == found["best"].arguments > 2 * 4 * 500 * 8
    assert found["none"].temporaries > 3 * found["mixed"].temporaries
    assert found["none"].temporaries > 2 * found["remat"].temporaries
    assert found["best"] == found["mixed"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (lambda: jm.positive(0.0), "above zero, or use signed"),
        (lambda: jm.signed(float("nan")), "give a finite value"),
        (lambda: jm.per_step(0.1, 0), "steps is 0; give a whole number >= 1"),
        (lambda: jm.per_weight(jm.per_step(0.1, 2)).init(jnp.ones(2)), r"write per_step\(per_weight"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(number, message):
    with pytest.raises(jm.InputError, match=message):
        number()


@pytest.mark.parametrize(
    "options",
    [
        dict(diff=jm.truncate(2)),
        dict(diff=jm.one_step()),
        dict(proximal=1.0, diff=jm.implicit(jm.conjugate_gradient(20))),
    ],
    ids=["truncate", "one_step", "implicit"],
)
def test_what_is_frozen_is_learned_under_every_rule(options):
    """Once the descent has converged, each rule's gradient of the frozen weights is that of unrolling."""
    net = jm.Model(
        lambda key: {"body": jnp.array([0.7]), "head": jnp.array([0.2])},
        lambda w, x, weights=None: jnp.tanh(x * w["body"]) * w["head"],
    )
    shared = dict(steps=300, numbers={"learning_rate": 1.0}, adapts=lambda path: path == "head")
    shared |= {"proximal": options.get("proximal", 0.0)}

    def slope(**rule):
        learner = jm.maml(net, jm.squared_error, **(shared | rule))
        meta = learner.init(jax.random.key(0))
        return np.asarray(jax.jit(jax.grad(outer(learner)))(meta).start["body"])

    exact = slope(diff=jm.unroll())
    found = slope(**options)
    assert np.abs(exact) > 1e-3
    assert np.sign(found) == np.sign(exact)
    if "proximal" in options:
        np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("diff", [jm.truncate(1), jm.one_step()], ids=["truncate", "one_step"])
def test_cavia_learns_its_network_under_rules_that_do_not_reach_the_start(diff):
    learner = jm.cavia(jm.networks.mlp([1 + 2, 4, 1]), jm.squared_error, size=2, steps=3, diff=diff)
    slope = jax.jit(jax.grad(outer(learner)))(doubles(learner.init(jax.random.key(0)))).start
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(slope["network"]["layers"][1]))


def test_what_is_frozen_counts_in_no_norm():
    clipped = partial(maml, optimizer=lambda: optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0)))
    learner = clipped(numbers={}, adapts=lambda path: path.startswith("layers/1"))
    meta = doubles(learner.init(jax.random.key(0)))
    fast = learner.adapt(meta, task().support, None)
    np.testing.assert_allclose(np.linalg.norm(flat(fast) - flat(meta.start)), 1e-3, rtol=1e-6)


def test_matching_is_attention_by_the_cosine():
    identity = jm.Model(lambda key: {}, lambda params, x, weights=None: x)
    learner = jm.matching(identity, ways=3, inverse_temperature=2.0)
    points, labels = np.array([[1.0, 0], [0, 2], [-3, 0], [5, 5]]), np.array([0, 1, 0, -1])
    weights = np.array([1.0, 1, 0, 1])
    fast = learner.adapt({}, jm.Batch(points, labels, weights), None)
    found = np.exp(learner.predict(fast, np.array([[3.0, 4.0]])))
    attention = np.exp([2 * 0.6, 2 * 0.8])
    np.testing.assert_allclose(found, [[*attention / attention.sum(), 0]], rtol=1e-10)
    with pytest.raises(jm.InputError, match="needs them"):
        learner.adapt({}, jm.Batch(points), None)
    with pytest.raises(jm.InputError, match="inverse_temperature is 0; give a positive number"):
        jm.matching(identity, ways=3, inverse_temperature=0)


@pytest.mark.parametrize("method", ["maml", "meta_sgd", "maml_plus_plus", "meta_curvature", "adam"])
def test_a_few_steps_on_a_new_sine_wave_beat_none(method):
    options = METHODS[method] | {"steps": 3}
    net = jm.networks.mlp([1, 40, 1], activation=jnp.tanh)
    learner = jm.maml(net, jm.squared_error, **options)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(5e-3)
    )  # where rounding does not decide
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optimizer)
    state = step.init(learner.init(jax.random.key(0)))
    train = jax.jit(partial(jm.train, step, jm.sinusoid(), steps=500, tasks=8))
    meta = train(state, jax.random.key(1)).meta
    still = jm.maml(net, jm.squared_error, **(options | {"steps": 0}))
    scores = [
        jm.evaluate(each, jm.sinusoid(), meta, jax.random.key(2), tasks=100).values["mse"].mean()
        for each in (learner, still)
    ]
    assert scores[0] < 0.8 * scores[1]
