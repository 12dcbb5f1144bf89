"""Images that stay on disk: the same tasks, bit for bit, as those that are sampled on the device."""

import os
import sys

import jax
import numpy as np
import optax
import pandas as pd
import pytest

import jmeta as jm
from jmeta.tasks.datasets import load_stored
from jmeta.tasks.stored import ahead, by_class
from jmeta.training.loop import draw_tasks

KINDS = dict(ways=3, shots=2, queries=1)


@pytest.fixture(scope="module")
def images():
    """Twelve images of each of five classes but one, which has seven; in no order."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(5), [12, 12, 7, 12, 12]))
    pixels = random.integers(0, 256, (len(labels), 4, 4, 1), dtype=np.uint8)
    return by_class(pixels.__getitem__, labels, tuple("abcde"), "an array")


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("rotations", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_tasks_are_those_of_the_device_bit_for_bit(images, labelled, rotations):
    from jmeta.tasks.feed import Given

    options = KINDS | dict(labelled=labelled, rotations=rotations)
    keys = jax.random.split(jax.random.key(3), 20)
    made = jax.jit(Given.ready)(Given(jm.stored_episodes(images, **options).draw(keys)))
    drawn = jax.jit(jax.vmap(jm.episodes(images.in_memory(), **options)))(keys)
    same(jax.random.key_data(made.key), jax.random.key_data(drawn.key))
    same(made._replace(key=0), drawn._replace(key=0))


LABELS = {
    "numbers": [0, 1, 1, -1],
    "fractions that are whole": [0.0, 1.0, 1.0, -1.0],
    "a column": pd.Series([0, 1, 1, -1], dtype="Int64"),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_are_the_places_of_names(labels):
    images = by_class(np.zeros((4, 2, 2, 1), np.uint8).__getitem__, labels, ("a", "b"), "an array")
    assert images.rows.tolist() == [[0, 0], [1, 2]]
    assert images.counts.tolist() == [1, 2]


@pytest.mark.parametrize(
    "words", [list("baa"), np.array(list("baa")), pd.Series(list("baa"), dtype="category")]
)
def test_labels_are_names(words):
    images = by_class(np.zeros((3, 2, 2, 1), np.uint8).__getitem__, words, ("a", "b"), "an array")
    assert images.rows.tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 2], "labels go up to 2 for 2 names; count from 0"),
        (["a", "c", "b"], "label 'c' is not among the names"),
        ([0.5, 1.0, 0.0], "labels hold 0.5"),
        (pd.Series([0, None, 1], dtype="Int64"), "labels hold nan"),
        ([[0], [0, 1], 1], "unequal length"),
    ],
)
def test_labels_without_a_class_are_refused(labels, message):
    with pytest.raises(jm.InputError, match=message):
        by_class(np.zeros((3, 2, 2, 1), np.uint8).__getitem__, labels, ("a", "b"), "an array")


def learner():
    net = jm.networks.mlp([16, 8, 3])
    return jm.maml(
        net._replace(apply=lambda p, x, w=None: net.apply(p, x.reshape(len(x), -1), w)), jm.cross_entropy
    )


def trained(sampler, **options):
    key, model = jax.random.key(1), learner()
    step = jm.meta_step(jm.query_loss(model, jm.cross_entropy), optax.adam(1e-2))
    return jm.loop(step, sampler, step.init(model.init(key)), key, tasks=3, every=4, **options)


def test_the_loop_trains_on_them_as_on_those_of_the_device_and_is_resumed(images, tmp_path):
    stored = jm.stored_episodes(images, **KINDS)
    state, rows = trained(jm.episodes(images.in_memory(), **KINDS), steps=10)
    found, told = trained(stored, steps=10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.meta, state.meta)
    assert [row["step"] for row in told] == [row["step"] for row in rows] == [4, 8, 10]
    np.testing.assert_allclose(*([row["loss"] for row in each] for each in (told, rows)), rtol=1e-5)

    trained(stored, steps=6, hooks=[jm.SaveStates(tmp_path / "states")])
    resumed, _ = trained(stored, steps=10, hooks=[jm.SaveStates(tmp_path / "states")])
    same(resumed.meta, found.meta)


def test_they_are_evaluated_as_those_of_the_device_are(images):
    model = learner()
    meta, key = model.init(jax.random.key(0)), jax.random.key(2)
    scores = [
        jm.evaluate(model, sampler, meta, key, tasks=103).values["accuracy"]
        for sampler in (jm.stored_episodes(images, **KINDS), jm.episodes(images.in_memory(), **KINDS))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_no_more_is_read_than_is_scored_and_on_the_devices_that_hold_what_is_learned(images):
    read, model = [], learner()
    counted = images._replace(read=lambda numbers: (read.append(len(numbers)), images.read(numbers))[1])
    everywhere = jax.sharding.NamedSharding(jm.task_mesh(), jax.sharding.PartitionSpec())
    meta = jax.device_put(model.init(jax.random.key(0)), everywhere)
    jm.evaluate(model, jm.stored_episodes(counted, **KINDS), meta, jax.random.key(2), tasks=103)
    assert sum(read) == 104 * 9  # two blocks of 52 tasks, of nine images each


def test_images_of_no_class_are_left_out_and_a_sampler_of_the_host_stays_there(images):
    found = by_class(images.read, np.array([1, -1, 0, 1]), ("a", "b"), "an array")
    assert found.counts.tolist() == [1, 2]
    sampler = jm.stored_episodes(images, **KINDS)
    with pytest.raises(jm.InputError, match="use loop, or evaluate"):
        draw_tasks(sampler, jax.random.key(0), 0, 2)


def test_batches_are_read_ahead_in_their_order(images):
    sampler = jm.stored_episodes(images, **KINDS)
    keys = lambda step: jax.random.split(jax.random.fold_in(jax.random.key(0), step), 2)  # noqa: E731
    batches = ahead(sampler, keys, 5)
    for step in range(5, 25):
        same(next(batches), sampler.draw(keys(step)))


def test_what_makes_no_task_is_refused_as_in_memory(images):
    with pytest.raises(jm.InputError, match="ways is 6, but there are 5 classes"):
        jm.stored_episodes(images, ways=6, shots=1, queries=1)
    with pytest.raises(jm.InputError, match="the smallest class has 7"):
        jm.stored_episodes(images, ways=2, shots=4, queries=4)
    flat = images._replace(read=lambda numbers: np.zeros((len(numbers), 4, 5, 1), np.uint8))
    with pytest.raises(jm.InputError, match="not square"):
        jm.stored_episodes(flat, rotations=True, **KINDS)


@pytest.mark.filterwarnings("ignore")
def test_a_set_prepared_by_tensorflow_datasets_feeds_the_loop_and_its_index_is_kept(prepared):
    """From the records on disk to a trained learner, by the reader and the loop that users have."""
    stored = load_stored("omniglot", data_dir=prepared)
    assert "tensorflow" not in sys.modules
    index = next(prepared.rglob("class_index.npz"))
    kept = index.read_bytes()
    again = load_stored("omniglot", data_dir=prepared)
    assert index.read_bytes() == kept
    np.testing.assert_array_equal(again.rows, stored.rows)
    index.write_bytes(kept[:30])  # damaged: read anew from the records
    np.testing.assert_array_equal(load_stored("omniglot", data_dir=prepared).counts, stored.counts)
    before, (record,) = index.read_bytes(), prepared.rglob("*test*.array_record*")
    os.utime(record, (0, 0))  # as other records of the same number would be: read anew
    np.testing.assert_array_equal(load_stored("omniglot", data_dir=prepared).rows, stored.rows)
    assert index.read_bytes() != before

    drawn = stored.classes(np.flatnonzero(stored.counts))
    same(drawn.in_memory().examples, jm.load("omniglot", data_dir=prepared).classes([0, 3, 5, 7]).examples)
    net = jm.networks.conv4(4)
    model = jm.prototypes(net, ways=4)
    step = jm.meta_step(jm.query_loss(model, jm.cross_entropy), optax.adam(1e-2))
    sampler = jm.stored_episodes(drawn, ways=4, shots=1, queries=1)
    state, rows = jm.loop(
        step, sampler, step.init(model.init(jax.random.key(0))), jax.random.key(1), steps=3, tasks=2, every=1
    )
    assert int(state.step) == 3
    assert np.all(np.isfinite([row["loss"] for row in rows]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_of_omniglot_is_prepared_read_back_and_learned_from(drawings):
    """32,460 drawings: each class comes back whole, in the order of a shuffle; a learner learns from them."""
    stored, found = jm.load_stored("drawings", data_dir=drawings), jm.load("omniglot")
    assert stored.names == found.feature_names
    np.testing.assert_array_equal(stored.counts, found.counts)
    for label in range(0, len(found.feature_names), 97):
        some = (stored.classes([label]).in_memory().examples[0], found.examples[label])
        same(*(sorted(image.tobytes() for image in np.asarray(each)) for each in some))
    sampler = jm.stored_episodes(stored, ways=5, shots=1, queries=5, rotations=True)
    model = jm.prototypes(jm.networks.conv4(8), ways=5)
    step = jm.meta_step(jm.query_loss(model, jm.cross_entropy), optax.adam(1e-2))
    start = step.init(model.init(jax.random.key(0)))
    _, rows = jm.loop(step, sampler, start, jax.random.key(1), steps=60, tasks=4, every=20)
    assert rows[-1]["accuracy"] > 0.7


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
def test_a_corrupt_record_ends_a_run_by_one_sentence(prepared):
    stored = load_stored("omniglot", data_dir=prepared)
    (record,) = prepared.rglob("*train*.array_record*")
    content = bytearray(record.read_bytes())
    for place in range(100, len(content) // 2, 7):
        content[place] ^= 16
    record.write_bytes(content)
    with pytest.raises(jm.InputError, match="prepare it again"):
        load_stored("omniglot", data_dir=prepared).in_memory()
    sampler = jm.stored_episodes(stored.classes([0, 3, 5, 7]), ways=4, shots=1, queries=1)
    with pytest.raises(jm.InputError, match="prepare it again"):
        next(ahead(sampler, lambda step: jax.random.split(jax.random.key(step), 2), 0))
