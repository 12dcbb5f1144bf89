"""Image sets: the bundled one, files, tensorflow-datasets without TensorFlow, and damage."""

import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import jmeta as jm
from jmeta.tasks import datasets, splits


def test_digits_are_bundled_and_split_by_class():
    train, test = jm.load("digits", "train"), jm.load("digits", "test")
    assert train.names + test.names == tuple("0123456789")
    assert train.examples.shape[2:] == (8, 8, 1)
    assert train.counts.sum() + test.counts.sum() == 1797
    assert train.examples.max() == 255


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("omniglot", (1028, 172, 423)),
        ("cifar100", (64, 16, 20)),
        ("fc100", (60, 20, 20)),
        ("mini_imagenet", (64, 16, 20)),
        ("tiered_imagenet", (351, 97, 160)),
        ("cub", (100, 50, 50)),
    ],
)
def test_published_splits_are_disjoint_and_complete(name, sizes):
    parts = [splits.classes(name, split) for split in splits.NAMES]
    assert tuple(map(len, parts)) == sizes
    assert sorted(np.concatenate(parts)) == list(range(sum(sizes)))


def test_fc100_divides_superclasses():
    """People, insects, aquatic and medium-sized mammals are the test; classes in the order of names."""
    people, insects = {2, 11, 35, 46, 98}, {6, 7, 14, 18, 24}  # baby, boy, girl, ...; bee, beetle, ...
    aquatic, medium = {4, 30, 55, 72, 95}, {34, 63, 64, 66, 75}  # beaver, dolphin, ...; fox, porcupine, ...
    assert set(splits.classes("fc100", "test").tolist()) == people | insects | aquatic | medium
    assert np.all(np.bincount([int(one) for one in splits._SUPERCLASSES.split()]) == 5)


def folders(root, parts, classes):
    """One image for each class, filled with the number of the class, and files that are no images."""
    for number in range(classes):
        folder = root / parts(number) / f"{number:03}.bird"
        folder.mkdir(parents=True)
        Image.new("L", (6, 4), number).save(folder / "one.png")
    (folder / "notes.txt").write_text("no image")


def test_sets_in_folders_are_read_with_their_published_split(tmp_path):
    folders(tmp_path, lambda number: "CUB_200_2011/images", 200)
    test = jm.load("cub", "test", data_dir=tmp_path)
    assert test.examples.shape == (50, 1, 84, 84, 3)
    np.testing.assert_array_equal(test.examples[:, 0, 40, 40, 1], np.arange(3, 200, 4))
    assert test.names[:2] == ("003.bird", "007.bird")
    part = lambda number: "mini_imagenet/" + ("train" if number < 64 else "val" if number < 80 else "test")  # noqa: E731
    folders(tmp_path, part, 100)
    stored = jm.load_stored("mini_imagenet", "val", data_dir=tmp_path)
    np.testing.assert_array_equal(stored.read(stored.rows[:, 0])[:, 0, 0, 0], np.arange(64, 80))
    (tmp_path / "mini_imagenet/val/064.bird/one.png").write_text("damaged")
    with pytest.raises(jm.InputError, match=r"one.png is no image"):
        stored.read(stored.rows[:1, 0])
    (tmp_path / "mini_imagenet/test/extra").mkdir()
    with pytest.raises(jm.InputError, match="holds 101 classes and is not mini_imagenet, which has 100"):
        jm.load("mini_imagenet", data_dir=tmp_path)


def test_how_to_get_a_set_in_folders_is_said_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("JMETA_DATA_DIR", raising=False)
    with pytest.raises(jm.InputError, match=r"tiered_imagenet was not found, as no data folder .* Ren et al"):
        jm.load("tiered_imagenet")
    with pytest.raises(jm.InputError, match=r"has no CUB_200_2011/images; unpack CUB_200_2011\.tgz"):
        jm.load("cub", data_dir=tmp_path)


@pytest.fixture
def omniglot(tmp_path):
    """A file of the right form, each drawing filled with its class number."""
    ids = np.random.default_rng(0).permutation(1623) + 1
    np.savez_compressed(
        tmp_path / "omniglot.npz",
        images=np.broadcast_to((ids % 251).astype(np.uint8)[:, None, None, None], (1623, 2, 28, 28)),
        char_id=ids,
        alphabet=np.zeros(1623, int),
        alphabet_names=np.array(["Futurama"]),
        character=ids,
    )
    return tmp_path


def test_omniglot_is_read_from_its_file_in_the_official_order(omniglot, monkeypatch):
    monkeypatch.setenv("JMETA_DATA_DIR", str(omniglot))
    for split in splits.NAMES:
        found = jm.load("omniglot", split)
        assert found.examples.shape[1:] == (2, 28, 28, 1)
        expected = (splits.classes("omniglot", split) + 1) % 251
        np.testing.assert_array_equal(found.examples[:, 0, 0, 0, 0], expected)
    assert jm.load("omniglot").names[41] == "Futurama/42"


def sheet(tiles):
    """Tiles side by side, in rows of 25, as a nearly lossless JPEG."""
    rows = np.asarray(tiles, np.uint8).reshape(-1, 25, 32, 32, 3).swapaxes(1, 2)
    file = io.BytesIO()
    Image.fromarray(rows.reshape(-1, 25 * 32, 3)).save(file, "JPEG", quality=98, subsampling=0)
    return np.frombuffer(file.getvalue(), np.uint8)


def test_cifar_sheets_are_cut_into_images(tmp_path):
    arrays = {"classes": np.array([f"c{i}" for i in range(10)])}
    for part, count in (("train", 50), ("test", 25)):
        shade = 20 * np.arange(10)[:, None] + np.arange(count)
        flat = np.broadcast_to(shade[..., None, None, None], (10, count, 32, 32, 3))
        sheets = [sheet(tiles) for tiles in flat]
        arrays[f"bytes_{part}"] = np.concatenate(sheets)
        arrays[f"offsets_{part}"] = np.cumsum([0, *map(len, sheets)])
    np.savez(tmp_path / "cifar10_jpeg90.npz", **arrays)
    found = jm.load("cifar10", data_dir=tmp_path)
    assert found.examples.shape == (10, 75, 32, 32, 3)
    means = found.examples.mean((2, 3, 4))
    np.testing.assert_allclose(means[:, :50], 20 * np.arange(10)[:, None] + np.arange(50), atol=1.5)
    np.testing.assert_allclose(means[:, 50:], 20 * np.arange(10)[:, None] + np.arange(25), atol=1.5)


@pytest.mark.filterwarnings("ignore")
def test_a_set_prepared_by_tensorflow_datasets_is_read_without_tensorflow(prepared):
    found = jm.load("omniglot", data_dir=prepared)
    assert "tensorflow" not in sys.modules
    np.testing.assert_array_equal(np.flatnonzero(found.counts), [0, 3, 5, 7])
    image = found.examples[3, 0, ..., 0]
    assert image.shape == (28, 28)
    np.testing.assert_array_equal(image[8, 2:-2], 255)
    np.testing.assert_array_equal(image[25], 0)
    with pytest.raises(jm.InputError, match="smallest class has 0"):
        jm.episodes(found, ways=2, shots=1, queries=0)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keep", [0, 100, -200])
def test_a_truncated_record_of_tensorflow_datasets_is_one_sentence(prepared, keep):
    (record,) = prepared.rglob("*train*.array_record*")
    record.write_bytes(record.read_bytes()[:keep])
    with pytest.raises(jm.InputError, match="prepare it again"):
        jm.load("omniglot", data_dir=prepared)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["imagenet", "Omniglot", ""])
def test_an_unknown_set_is_refused(name):
    with pytest.raises(jm.InputError, match="choose one of digits, omniglot, cifar10, cifar100"):
        jm.load(name)


@pytest.mark.faults
@pytest.mark.parametrize("folder", [None, "here"])
def test_a_missing_set_says_how_to_get_it(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("JMETA_DATA_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(jm.InputError, match=r"put omniglot.npz there .* JMETA_DATA_DIR, or prepare it"):
        jm.load("omniglot", "train", data_dir=folder and tmp_path)


@pytest.mark.faults
def test_an_unknown_split_is_refused():
    for name, split in (("digits", "val"), ("cifar10", "train"), ("omniglot", "valid")):
        with pytest.raises(jm.InputError, match="choose another, or 'all'"):
            jm.load(name, split)


@pytest.mark.faults
@pytest.mark.parametrize("keep", [0, 10, 1000, -50])
def test_a_truncated_file_is_one_sentence(omniglot, keep):
    path = omniglot / "omniglot.npz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(jm.InputError, match="is damaged"):
        jm.load("omniglot", data_dir=omniglot)


@pytest.mark.faults
def test_no_flipped_bit_of_a_header_is_a_traceback(tmp_path):
    path = tmp_path / "small.npz"
    np.savez_compressed(path, images=np.arange(40), names=np.array(["a"]))
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            datasets.read_npz(path)
        except jm.InputError:
            refused += 1
    assert refused > len(whole) / 4


@pytest.mark.faults
def test_a_flipped_bit_is_noticed(omniglot):
    path = omniglot / "omniglot.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(jm.InputError, match="is damaged"):
        jm.load("omniglot", data_dir=omniglot)


@pytest.mark.faults
@pytest.mark.parametrize(
    "arrays",
    [
        {"other": np.zeros(3)},
        {"images": np.zeros((3, 2, 28, 28), np.uint8), "char_id": np.arange(3)},
        {
            "images": np.zeros((3, 2, 28, 28), np.uint8),
            "char_id": np.arange(3),
            "alphabet": np.zeros(3, int),
            "alphabet_names": np.array(["a"]),
            "character": np.arange(3),
        },
        {
            "images": np.full((1623, 4), np.nan),
            "char_id": np.arange(1623),
            "alphabet": np.zeros(1623, int),
            "alphabet_names": np.array(["a"]),
            "character": np.arange(1623),
        },
    ],
    ids=["foreign", "incomplete", "too few classes", "flat images"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "omniglot.npz", **arrays)
    with pytest.raises(jm.InputError, match="is not"):
        jm.load("omniglot", "test", data_dir=tmp_path)


@pytest.mark.faults
def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    np.savez(tmp_path / "omniglot.npz", images=np.array([Trap()], object))
    with pytest.raises(jm.InputError, match="is damaged"):
        jm.load("omniglot", data_dir=tmp_path)


@pytest.mark.faults
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jmeta.files.MAX_BYTES", 2**20)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(2**20 + 1))
    assert path.stat().st_size < 2**12
    with pytest.raises(jm.InputError, match="would unpack to"):
        datasets.read_npz(path)
