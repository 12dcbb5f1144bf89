"""Trained models as files: every learner comes back as it was, and what is foreign is refused."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.artifacts.advisors import load_model
from jmeta.artifacts.archive import checksum
from jmeta.artifacts.recipes import FORMAT, KIND, PACKAGES, _functions
from jmeta.files import read_npz

MLP = jm.recipe("mlp", (2, 4, 3))
LEARNERS = {
    "maml": jm.recipe(
        "maml",
        MLP,
        jm.named("cross_entropy"),
        steps=2,
        numbers={"learning_rate": 0.1},
        learn=("learning_rate",),
        diff=jm.recipe("unroll", remat=True),
    ),
    "centroids": jm.recipe(
        "centroids",
        MLP,
        jm.recipe("soft_kmeans", 3, steps=3, diff=jm.recipe("implicit", jm.recipe("gmres", 4))),
    ),
    "prototypes": jm.recipe("prototypes", MLP, ways=3),
    "anil": jm.recipe(
        "on_features",
        jm.recipe("mlp", (2, 4)),
        jm.recipe("maml", jm.recipe("mlp", (4, 3)), jm.named("cross_entropy")),
    ),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_is_the_same_after_a_file(name, tmp_path):
    recipe, path = LEARNERS[name], tmp_path / "a.npz"
    learner = jm.make(recipe)
    meta = learner.init(jax.random.key(0))
    jm.save_trained(path, recipe, meta, {"steps": 3})
    trained = jm.load_trained(path)
    assert trained.card == {"steps": 3}
    assert str(trained).startswith(f"Trained({recipe.name}, ")
    assert jax.tree.structure(trained.params) == jax.tree.structure(meta)
    x = jax.random.normal(jax.random.key(1), (6, 2))
    support = jm.Batch(x, jnp.arange(6) % 3)
    before, after = (
        one.predict(one.adapt(params, support, jax.random.key(2)), x)
        for one, params in ((learner, meta), (trained.made, trained.params))
    )
    np.testing.assert_array_equal(before, after)


def test_a_clusterer_with_learned_numbers_and_a_network_are_kept_too(tmp_path):
    clusterer = jm.recipe("soft_kmeans", 3, learn=("temperature",), inverse_temperature=2.0)
    params = jm.make(clusterer).init(jax.random.key(0))
    jm.save_trained(tmp_path / "a.npz", clusterer, params)
    assert jax.tree.map(float, jm.load_trained(tmp_path / "a.npz").params) == jax.tree.map(float, params)
    jm.save_trained(tmp_path / "b.npz", MLP, jm.make(MLP).init(jax.random.key(0)))
    assert isinstance(jm.load_trained(tmp_path / "b.npz").made, jm.Model)


def test_every_public_function_of_the_packages_can_be_named():
    functions = _functions()
    homes = tuple(f"jmeta.{name}" for name in PACKAGES)
    public = {name: getattr(jm, name) for name in jm.__all__}
    public |= {
        name: getattr(package, name) for package in (jm.networks, jm.losses) for name in package.__all__
    }
    expected = {
        name
        for name, one in public.items()
        if callable(one) and not inspect.isclass(one) and one.__module__.startswith(homes)
    }
    assert expected == functions.keys()
    assert {"maml", "every_step", "kmeans", "cross_entropy", "conv4", "flatten"} <= expected
    assert not {"save_trained", "load_trained", "loop", "use_compilation_cache", "load"} & expected
    assert all(functions[name] is public[name] for name in expected)


def test_the_documented_mamlpp_is_kept(tmp_path):
    rate = jm.recipe("per_step", jm.recipe("per_leaf", 0.1), 5)
    learner = jm.recipe(
        "maml",
        MLP,
        jm.named("cross_entropy"),
        steps=5,
        numbers={"learning_rate": rate},
        learn=("learning_rate",),
        diff=jm.recipe("every_step"),
    )
    meta = jm.make(learner).init(jax.random.key(0))
    jm.save_trained(tmp_path / "a.npz", learner, meta)
    read = jm.load_trained(tmp_path / "a.npz").params
    assert jax.tree.all(jax.tree.map(np.array_equal, meta, read))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (jm.recipe("system", "ls"), "'system' makes nothing"),
        (jm.recipe("mlp"), "the recipe of mlp does not fit"),
        (jm.recipe("mlp", (2, 1), colour="red"), "the recipe of mlp does not fit"),
        (jm.recipe("soft_kmeans", 0), "clusters of soft_kmeans is 0"),
    ],
)
def test_recipes_of_nothing_are_refused(recipe, message):
    with pytest.raises(jm.InputError, match=message):
        jm.make(recipe)


def scaled_prototypes(network, scale):
    """A learner of one's own, made of a network and a function that are not jmeta's."""
    learner = jm.prototypes(network, ways=3)
    return learner._replace(predict=lambda *args: scale * learner.predict(*args))


def one_layer(features, outputs):
    return jm.Model(
        lambda key: jax.random.normal(key, (features, outputs)), lambda params, x, weights=None: x @ params
    )


OWN = {"scaled_prototypes": scaled_prototypes, "one_layer": one_layer}


def test_a_learner_of_own_functions_is_kept_by_their_names(tmp_path):
    recipe, path = jm.recipe("scaled_prototypes", jm.recipe("one_layer", 2, 4), 3.0), tmp_path / "a.npz"
    learner = jm.make(recipe, own=OWN)
    meta, x = learner.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 2))
    jm.save_trained(path, recipe, meta, own=OWN)
    trained = jm.load_trained(path, own=OWN)
    support = jm.Batch(x, jnp.arange(6) % 3)
    before, after = (
        one.predict(one.adapt(params, support, jax.random.key(2)), x)
        for one, params in ((learner, meta), (trained.made, trained.params))
    )
    np.testing.assert_array_equal(before, after)
    with pytest.raises(jm.InputError, match=r"'one_layer' .* own=\{'one_layer': function\}"):
        jm.load_trained(path, own={"scaled_prototypes": scaled_prototypes})
    with pytest.raises(jm.InputError, match="'scaled_prototypes' makes nothing that a recipe may name"):
        jm.save_trained(tmp_path / "b.npz", recipe, meta)
    with pytest.raises(jm.InputError, match="own holds 'mlp', a public function of jmeta"):
        jm.make(MLP, own={"mlp": one_layer})
    with pytest.raises(jm.InputError, match="do not fit the recipe"):  # another function of the same name
        jm.load_trained(path, own=OWN | {"one_layer": lambda features, outputs: one_layer(features, 5)})


def test_what_cannot_be_kept_is_refused(tmp_path):
    params = jm.make(MLP).init(jax.random.key(0))
    path = tmp_path / "a.npz"
    with pytest.raises(jm.InputError, match="do not fit the recipe"):
        jm.save_trained(path, jm.recipe("mlp", (2, 5, 3)), params)
    with pytest.raises(jm.InputError, match="the recipe makes a function"):
        jm.save_trained(path, jm.named("cross_entropy"), {})
    with pytest.raises(jm.InputError, match="a recipe holds"):
        jm.recipe("mlp", (2, 4, 3), activation=jnp.tanh)
    assert not path.exists()


@pytest.mark.faults
def test_files_that_are_damaged_or_foreign_are_refused(tmp_path):
    path, other = tmp_path / "a.npz", tmp_path / "other.npz"
    jm.save_trained(path, MLP, jm.make(MLP).init(jax.random.key(0)))
    arrays = read_npz(path)
    name = next(key for key in arrays if key not in ("header", "checksum"))
    np.savez(other, **(arrays | {name: arrays[name] + 1}))
    with pytest.raises(jm.InputError, match="its checksum does not hold"):
        jm.load_trained(other)
    header = json.loads(str(arrays["header"]))
    for change, message in (
        ({"format": FORMAT + 1}, "is of format"),
        ({"kind": "model"}, f"holds a model, not a {KIND}"),
        (
            {"recipe": {"make": "system", "arguments": [], "options": {}, "called": True}},
            "makes nothing that",
        ),
        ({"recipe": {"make": "mlp"}}, f"holds no {KIND}"),
        ({"recipe": {"make": "mlp", "arguments": [[2, 9, 3]], "options": {}, "called": True}}, "do not fit"),
    ):
        made_up = {key: array for key, array in arrays.items() if key != "checksum"}
        made_up["header"] = np.array(json.dumps(header | change))
        np.savez(other, **made_up, checksum=np.array(checksum(made_up)))
        with pytest.raises(jm.InputError, match=message):
            jm.load_trained(other)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(jm.InputError, match="damaged"):
        jm.load_trained(path)
    with pytest.raises(jm.InputError, match="there is no trained model"):
        jm.load_trained(tmp_path / "missing.npz")


@pytest.mark.parametrize("name", ["zero_shot", "quality"])
def test_models_that_come_with_jmeta_say_how_they_were_made(name):
    card = load_model(shipped=name)[1] if name == "quality" else jm.load_trained(name).card
    assert card["command"].startswith("python -m experiments.")
    assert "no data set" in card["trained on"]
    assert len(card["measured"]) > 3
