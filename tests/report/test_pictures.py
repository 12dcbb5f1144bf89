"""Pictures: what is drawn, and that odd input still draws."""

import numpy as np
import pytest

import jmeta as jm

IMAGES = np.random.default_rng(0).uniform(size=(6, 4, 4, 1))
TRUTH = np.array([0, 0, 1, 1, 2, 2])


def test_curves_show_the_rows_that_have_the_metric(tmp_path):
    runs = {"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 3, "loss": 1.0}], "b": []}
    figure = jm.report.learning_curves(runs, "loss")
    lines = figure.axes[0].lines
    np.testing.assert_array_equal(lines[0].get_xydata(), [[1, 2], [3, 1]])
    assert [line.get_label() for line in lines] == ["a", "b"]
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("features", [1, 2, 5])
def test_a_task_is_drawn_once_per_view_with_every_image(features, tmp_path):
    views = {
        title: (np.random.default_rng(1).normal(size=(6, features)), TRUTH) for title in ("before", "after")
    }
    figure = jm.report.task_clusters(IMAGES, TRUTH, views)
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]
    assert all(len(axes.artists) == 6 for axes in figure.axes)
    figure.savefig(tmp_path / "task.png")


def test_clusters_are_coloured_by_their_most_common_class():
    found = np.array([2, 2, 0, 0, 0, 1])
    figure = jm.report.task_clusters(IMAGES, TRUTH, {"view": (np.arange(12.0).reshape(6, 2), found)})
    colors = [artist.patch.get_edgecolor() for artist in figure.axes[0].artists]
    assert colors[0] == colors[1]
    assert colors[2] == colors[3] == colors[4]
    assert len(set(colors)) == 3


def test_colour_images_and_coinciding_points_are_drawn(tmp_path):
    images = np.random.default_rng(0).uniform(size=(6, 4, 4, 3))
    figure = jm.report.task_clusters(images, TRUTH, {"view": (np.zeros((6, 2)), TRUTH)})
    figure.savefig(tmp_path / "task.png")


def test_nothing_to_show_is_refused():
    with pytest.raises(jm.InputError, match="at least one embedding"):
        jm.report.task_clusters(IMAGES, TRUTH, {})


def test_points_without_a_class_are_drawn():
    truth = np.array([-1, -1, -1, 0, 1, 1])
    assert jm.report.task_clusters(IMAGES, truth, {"view": (np.zeros((6, 2)), TRUTH)}).axes
