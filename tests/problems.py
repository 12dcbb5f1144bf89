"""Small problems with known answers, of two kinds and two groups."""

from sklearn.datasets import make_blobs, make_moons

from jmeta.tasks.problems import Problem


def made(seed, kind):
    """Two blobs that touch, or two moons."""
    points, labels = (
        make_blobs(60, centers=2, cluster_std=1.5, random_state=seed)
        if kind == "blobs"
        else make_moons(60, noise=0.04, random_state=seed)
    )
    return Problem(f"{kind}{seed}", f"group {seed % 2}", points, (labels,), "scikit-learn")
