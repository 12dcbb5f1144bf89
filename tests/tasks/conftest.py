"""Sets as tensorflow-datasets prepares them."""

import io
import os

import numpy as np
import pytest
from PIL import Image

import jmeta as jm


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


@pytest.fixture
def drawings(tmp_path):
    """All of Omniglot from its file, prepared as the set `drawings` by a builder of tensorflow-datasets."""
    if "JMETA_DATA_DIR" not in os.environ:
        pytest.skip("needs omniglot.npz in JMETA_DATA_DIR")
    import tensorflow_datasets as tfds

    found = jm.load("omniglot")

    with tfds.core.registered.skip_registration():

        class Drawings(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                label = tfds.features.ClassLabel(names=found.feature_names)
                image = tfds.features.Image(shape=(28, 28, 1))
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
                )

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for label, (examples, count) in enumerate(zip(found.examples, found.counts, strict=True)):
                    for place, image in enumerate(np.asarray(examples[:count])):
                        yield f"{label} {place}", {"image": png(image[..., 0]), "label": label}

    Drawings(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


@pytest.fixture
def prepared(tmp_path):
    """Omniglot as tensorflow-datasets prepares it, with two equal drawings of each of four classes."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.image_classification import omniglot

    labels = [f"{i:04d}" for i in range(1, 1624)]

    with tfds.core.registered.skip_registration():

        class Omniglot(omniglot.Omniglot):
            def _split_generators(self, dl_manager):
                self.info.features["alphabet"].names = [f"alphabet {i}" for i in range(50)]
                self.info.features["label"].names = labels
                return {"train": self._generate_examples([3, 0]), "test": self._generate_examples([7, 5])}

            def _generate_examples(self, chosen):
                for label in chosen:
                    drawing = np.full((105, 105, 3), 255, np.uint8)
                    drawing[label : 50 + label] = 0
                    row = {"alphabet": 0, "alphabet_char_id": label, "label": labels[label]}
                    for copy in range(2):
                        yield f"{label} {copy}", {"image": png(drawing), **row}

    builder = Omniglot(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    return tmp_path
