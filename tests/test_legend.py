"""The legend below images: what it lists, and that it fits."""

import numpy as np
import pytest

from mmseg.utils import drawing
from mmseg.utils.drawing import with_legend


def legend_of(label, classes, image=None, of_all=False):
    """The legend alone."""
    if image is None:
        image = np.zeros((*label.shape, 3), np.uint8)
    palette = [[8 * i + 5, 255 - 8 * i, 7] for i in range(len(classes))]
    found = with_legend(image, label, classes, palette, of_all)
    height, width = label.shape
    np.testing.assert_array_equal(found[:height, :width], image)
    assert (found[:height, width:] == 255).all()
    return found[height:], palette


def has(legend, color):
    return (legend == color[::-1]).all(axis=2).any()


def test_legend_shows_the_classes_that_are_there():
    label = np.full((90, 400), 3)
    label[:9] = 7
    legend, palette = legend_of(label, [f'class {i}' for i in range(19)])
    assert [i for i in range(19) if has(legend, palette[i])] == [3, 7]
    of_all, _ = legend_of(label, [f'class {i}' for i in range(19)], of_all=True)
    assert all(has(of_all, color) for color in palette)
    assert of_all.shape[0] > legend.shape[0]


def test_legend_gives_ratios(monkeypatch):
    entries = []

    def draw(found, width):
        entries.extend(found)
        return np.zeros((1, width, 3), np.uint8)

    monkeypatch.setattr(drawing, '_draw_legend', draw)
    label = np.zeros((100, 100), np.uint8)
    label[0, :4], label[:25, 50:] = 1, 2
    with_legend(np.zeros((100, 100, 3), np.uint8), label, ['a', 'b', 'c'], [[1, 2, 3]] * 3)
    assert entries == [
        ('a', '87.5%', (1, 2, 3)), ('c', '12.5%', (1, 2, 3)), ('b', '0.0%', (1, 2, 3)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    'size', [(1, 1), (40, 3), (600, 500), pytest.param((200, 3000), marks=pytest.mark.long)]
)
def test_legend_fits_images_of_any_size(size):
    label = np.arange(size[0] * size[1]).reshape(size) % 30
    classes = [f'{"a very long name of a class " * (i % 3)}{i}' for i in range(30)]
    legend, palette = legend_of(label, classes)
    present = np.unique(label)
    assert all(has(legend, palette[i]) == (i in present) for i in range(30))
    # Nothing is cut off: the edges are white.
    assert (legend[[0, -1]] == 255).all() and (legend[:, [0, -1]] == 255).all()
