"""One picture that shows what UDA gains: source, target, truth and predictions side by side."""

import glob
import os.path as osp

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from PIL import Image

from mmseg.datasets import CityscapesDataset
from mmseg.utils.drawing import color_label
from mmseg.utils.files import moved_into_place

ROWS = 4


def draw_comparison(path, data, predictions):
    """Draw a few target validation images with their truth and the methods' predictions.

    Args:
        path (str): Where to write the picture.
        data (str): Root of StreetScenes.
        predictions (dict[str, str]): Per method the folder of its coloured predictions.

    Returns:
        str: ``path``.
    """
    sources = sorted(glob.glob(osp.join(data, 'gta', 'images', '*.png')))
    titles = ['Source image (labelled)', 'Target image (no labels)', 'Truth', *predictions]
    figure, axes = plt.subplots(ROWS, len(titles), figsize=(3.2 * len(titles), 1.62 * ROWS + 0.9))
    for row, (name, truth) in enumerate(_most_varied(data)):
        pictures = [
            Image.open(sources[row]),
            Image.open(osp.join(data, 'cityscapes', 'leftImg8bit', 'val', name)),
            Image.fromarray(color_label(truth, CityscapesDataset.PALETTE)),
            *(Image.open(osp.join(folder, name)) for folder in predictions.values()),
        ]
        size = pictures[1].size
        for axis, picture in zip(axes[row], pictures, strict=True):
            axis.imshow(picture.convert('RGB').resize(size))
            axis.axis('off')
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=12)
    legend = [
        Patch(color=np.array(color) / 255, label=name)
        for name, color in zip(CityscapesDataset.CLASSES, CityscapesDataset.PALETTE, strict=True)
    ]
    figure.legend(handles=legend, loc='lower center', ncol=10, frameon=False, fontsize=9)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.95, bottom=0.1, wspace=0.02, hspace=0.03)
    with moved_into_place(path) as file:
        figure.savefig(file, dpi=80, format='png')
    plt.close(figure)
    return path


def _most_varied(data):
    """The validation images with the most classes: (name below the image folder, train ids)."""
    labels = osp.join(data, 'cityscapes', 'gtFine', 'val')
    found = []
    for path in sorted(glob.glob(osp.join(labels, '*', '*_gtFine_labelTrainIds.png'))):
        label = np.array(Image.open(path))
        name = osp.relpath(path, labels).replace('_gtFine_labelTrainIds', '_leftImg8bit')
        found.append((len(np.unique(label)), name, label))
    found.sort(key=lambda entry: -entry[0])
    return [(name, label) for _, name, label in found[:ROWS]]
