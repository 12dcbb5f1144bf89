"""Networks: layers against their definitions, exact derivatives, weights, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jmeta as jm
from jmeta.networks.layers import convolve, convolve_to_unit, max_pool, normalize

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 6, 2)).astype(np.float32))


def test_convolution_is_the_usual_one():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4))
    expected = lax.conv_general_dilated(
        IMAGES, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(convolve(IMAGES, kernel), expected, atol=1e-5)
    window = ((1, 1), (1, 1))
    expected = lax.conv_general_dilated(
        IMAGES, kernel, (2, 2), window, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(convolve(IMAGES, kernel, 2), expected, atol=1e-5)


@pytest.mark.parametrize("weights", [None, jnp.array([1.0, 0.0, 0.5])])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.usefixtures("float64")
def test_a_first_layer_is_normalised_through_its_kernel(weights, stride):
    """Values, gradients and gradients of gradients."""
    images = IMAGES.astype(float)
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4), float)

    def plain(kernel):
        return normalize(convolve(images, kernel, stride), weights, "batch")

    def through(kernel):
        return convolve_to_unit(images, kernel, weights, stride)

    @partial(jax.jit, static_argnums=0)
    def curved(function):
        slope = jax.grad(lambda kernel: jnp.sum(jnp.sin(function(kernel))))
        second = jax.grad(lambda kernel: jnp.sum(jnp.cos(slope(kernel))))
        return function(kernel), slope(kernel), second(kernel)

    for a, b, atol in zip(curved(through), curved(plain), (1e-10, 1e-9, 1e-9), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize("size", [5, 8])
def test_strided_blocks_halve_and_average(size):
    net = jm.networks.conv4(4, shape=(size, size, 1), strided=True, outputs=3)
    params = net.init(jax.random.key(0))
    assert params["head"]["kernel"].shape == (4, 3)
    images = jax.random.normal(jax.random.key(1), (2, size, size, 1))
    assert net.apply(params, images).shape == (2, 3)
    flat = jm.networks.convnet([4, 2], shape=(size, size, 1), pools=2, strided=True)
    side = -(-size // 4)
    assert flat.apply(flat.init(jax.random.key(0)), images).shape == (2, side * side * 2)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_fewer_bits_keep_weights_outputs_and_statistics_wide(norm):
    net = jm.networks.conv4(8, shape=(8, 8, 1), norm=norm, outputs=3)
    low = jm.networks.in_precision(net)
    params = low.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    text = str(jax.make_jaxpr(low.apply)(params, images))
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products
    assert all("bf16" in line.split("=")[0] for line in products)
    assert all("f32" in line for line in text.splitlines() if "rsqrt" in line)
    found = low.apply(params, images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, net.apply(params, images), atol=0.1)

    def loss(params, model):
        return jnp.mean(model.apply(params, images) ** 2)

    slopes = [jax.jit(jax.grad(loss), static_argnums=1)(params, model) for model in (low, net)]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(slopes[0]))
    for a, b in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(a, b, atol=0.1 * float(jnp.abs(b).max()) + 1e-2)


def test_a_wide_first_layer_says_the_same_alone_in_fewer_bits_and_beside_a_support():
    """Where it is normalised through its kernel."""
    net = jm.networks.conv4(16, shape=(8, 8, 1), outputs=3)
    params, images = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    low = jm.networks.in_precision(net).apply(params, images)
    np.testing.assert_allclose(low, net.apply(params, images), atol=0.1)
    weights = jnp.array([1.0, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(
        net.apply(params, images, weights)[:4], net.apply(params, images[:4]), atol=1e-4
    )


def test_pooling_takes_the_largest_and_drops_an_odd_row():
    expected = np.asarray(IMAGES)[:, :4].reshape(3, 2, 2, 3, 2, 2).max((2, 4))
    np.testing.assert_array_equal(max_pool(IMAGES), expected)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_normalised_images_have_mean_zero_and_variance_one(norm):
    axes = (0, 1, 2) if norm == "batch" else (1, 2, 3)
    found = normalize(3 * IMAGES + 1, None, norm)
    np.testing.assert_allclose(found.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(found.var(axes), 1, atol=1e-4)


def test_layer_norm_does_not_look_at_other_examples_and_batch_norm_does():
    model = {norm: jm.networks.conv4(2, shape=(8, 8, 1), norm=norm) for norm in ("layer", "batch")}
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    for norm, net in model.items():
        params = net.init(jax.random.key(0))
        alone, together = net.apply(params, images[:2]), net.apply(params, images)[:2]
        assert bool(jnp.allclose(alone, together, atol=1e-5)) == (norm == "layer")


def test_padding_of_weight_zero_does_not_change_batch_statistics():
    net = jm.networks.conv4(4, shape=(8, 8, 1))
    params = net.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    padded = jnp.concatenate([images, jnp.full((2, 8, 8, 1), 1e3)])
    weights = jnp.array([1.0, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(net.apply(params, padded, weights)[:4], net.apply(params, images), atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_constant_images_give_finite_features_and_gradients(norm):
    net = jm.networks.conv4(2, shape=(8, 8, 1), norm=norm)
    params = net.init(jax.random.key(0))
    for images in (jnp.zeros((2, 8, 8, 1)), jnp.ones((1, 8, 8, 1))):
        gradient = jax.jit(jax.grad(lambda p, x=images: jnp.sum(net.apply(p, x) ** 2)))(params)
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.usefixtures("float64")
def test_second_derivatives_through_convolution_norm_and_pooling():
    """Pooling written as reshape and max has had wrong ones under jit."""
    net = jm.networks.convnet([3, 3], shape=(8, 8, 1), pools=2, norm="batch", outputs=2)
    params = jax.tree.map(lambda leaf: leaf.astype(float), net.init(jax.random.key(0)))
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    direction = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(2), leaf.shape), params)

    def loss(params):
        return jnp.sum(jnp.sin(net.apply(params, images)))

    @jax.jit
    def slope(size):
        moved = jax.tree.map(lambda p, d: p + size * d, params, direction)
        return jax.jvp(loss, (moved,), (direction,))[1]

    curvature = jax.jit(jax.grad(slope))(0.0)
    np.testing.assert_allclose(curvature, (slope(1e-6) - slope(-1e-6)) / 2e-6, rtol=1e-5)


def test_every_task_may_have_weights_of_its_own():
    net = jm.networks.conv4(2, shape=(8, 8, 1), outputs=3)
    params = jax.vmap(net.init)(jax.random.split(jax.random.key(0), 2))
    images = jax.random.normal(jax.random.key(1), (2, 4, 8, 8, 1))
    together = jax.vmap(net.apply)(params, images)
    for place in range(2):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], params)
        np.testing.assert_allclose(together[place], net.apply(own, images[place]), atol=1e-5)


def test_a_linear_last_block_may_be_negative_and_blocks_stop_pooling_at_one_pixel():
    net = jm.networks.convnet([4, 2], shape=(4, 4, 1), linear=True)
    features = net.apply(net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (3, 4, 4, 1)))
    assert features.shape == (3, 32)
    assert features.min() < 0
    tiny = jm.networks.conv4(2, shape=(3, 3, 1))
    assert tiny.apply(tiny.init(jax.random.key(0)), jnp.zeros((1, 3, 3, 1))).shape == (1, 2)


def test_a_perceptron_is_its_formula():
    net = jm.networks.mlp([2, 3, 1], activation=jnp.tanh)
    params = net.init(jax.random.key(0))
    x = jnp.array([[0.5, -1.0]])
    first, second = params["layers"][0], params["layers"][1]
    expected = jnp.tanh(x @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
    np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-6)


REFUSED = {
    "no block": (lambda: jm.networks.convnet([], shape=(8, 8, 1)), "give at least one block"),
    "pools": (lambda: jm.networks.convnet([2], shape=(8, 8, 1), pools=2), "pools is 2; give 0 to 1"),
    "norm": (lambda: jm.networks.conv4(norm="group"), "choose one of"),
    "shape": (lambda: jm.networks.conv4(shape=(28, 28)), "give height, width and channels"),
    "no layer": (lambda: jm.networks.mlp([3]), "give at least the input and output sizes"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_networks_that_mean_nothing_are_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(jm.InputError, match=message):
        make()


def test_images_of_another_shape_are_refused():
    net = jm.networks.conv4(2, shape=(8, 8, 1))
    params = net.init(jax.random.key(0))
    for shape in ((3, 8, 8, 3), (3, 8, 8), (3, 9, 8, 1)):
        with pytest.raises(jm.InputError, match="the network takes images"):
            net.apply(params, jnp.zeros(shape))
