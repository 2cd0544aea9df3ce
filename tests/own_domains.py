"""Tiny data sets in formats of their own, and configs for them: blocks of random classes."""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.tiny_runs import CHECKOUT

BASES = (
    'default_runtime',
    'models/daformer_sepaspp_mitb0_ch64',
    'datasets/uda_own_data_128x128',
    'uda/dacs',
    'schedules/street_scenes',
)


def blocks(number, ids, size=(160, 192)):
    """A label (H, W) int64 of 4×4 blocks of these ids, drawn from its number."""
    drawn = np.random.default_rng(number).choice(ids, (4, 4))
    return drawn.repeat(size[0] // 4, axis=0).repeat(size[1] // 4, axis=1)


def write_images(folder, count, suffix='.jpg', size=(160, 192)):
    """Photographs of noise, in two folders below ``folder``; their names without suffix."""
    names = [f'day_{number % 2}/{number:03d}' for number in range(count)]
    for number, name in enumerate(names):
        path = Path(folder, name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        assert cv2.imwrite(str(path), pixels)
    return names


def write_labels(folder, names, ids, suffix='.png', save=None):
    """Labels of :func:`blocks` for images of these names; ``save(label, path)`` writes one."""
    for number, name in enumerate(names):
        path = Path(folder, name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        (save or save_grey)(blocks(number, ids), path)


def save_grey(label, path):
    Image.fromarray(label.astype(np.uint8)).save(path)


def save_16_bits(label, path):
    assert cv2.imwrite(str(path), label.astype(np.uint16))


def save_palette(label, path):
    picture = Image.fromarray(label.astype(np.uint8))
    picture.putpalette([channel for i in range(256) for channel in color_of(i)])
    picture.save(path)


def save_colors(label, path):
    colors = np.array([color_of(i) for i in range(256)], np.uint8)
    Image.fromarray(colors[label]).save(path)


def color_of(number):
    """Another colour for each id below 256."""
    return [number, 255 - number, 40]


def config_of(classes, source, target, val=None, uda=None, **entries):
    """Write a config of two iterations as JSON into the current folder.

    Args:
        classes (list[str] | None): The class list.
        source, target, val (dict): What is put over the data sets; no ``val``: no evaluation.
        uda (dict | None): Further options of the method.
        **entries: At the top level.

    Returns:
        str: Its path.
    """
    content = {
        '_base_': [f'{CHECKOUT}/configs/_base_/{base}.py' for base in BASES],
        'model': {'decode_head': {'channels': 16, 'decoder_params': {'embed_dims': 16}}},
        'data': {
            'samples_per_gpu': 2,
            'workers_per_gpu': 0,
            'train': {
                'source': source,
                'target': target,
                'rare_class_sampling': {'min_pixels': 0, 'class_temp': 1, 'min_crop_ratio': 0.5},
            },
            **({'test': target} if val is None else {'val': val, 'test': val}),
        },
        'uda': {'debug_img_interval': 1, **(uda or {})},
        'optimizer_config': None,
        'runner': {'type': 'IterBasedRunner', 'max_iters': 2},
        'checkpoint_config': {'interval': 2},
        'log_config': {'interval': 1},
        'evaluation': None if val is None else {'interval': 2},
        'exp': 'own',
        **entries,
    }
    if classes is not None:
        content['classes'] = classes
    path = Path('own.json')
    path.write_text(json.dumps(content))
    return str(path)


def own_domains(classes, ids_of, save=save_grey):
    """Two domains with these classes in the current folder, and their config.

    Args:
        classes (list[str]): The class list.
        ids_of (dict): The ``id_map`` of the source, and of the target's validation set.
        save (Callable): Writes one label.
    """
    ids = [i for entry in ids_of.values() for i in (entry if isinstance(entry, list) else [entry])]
    names = write_images('mine/photos', 4)
    write_labels('mine/masks', names, [*ids, 201], '_mask.png', save)
    write_images('theirs/train', 4)
    write_labels('theirs/val_masks', write_images('theirs/val', 2), ids, save=save)
    as_stated = ids_of
    if save is save_colors:
        as_stated = {
            name: [color_of(i) for i in (entry if isinstance(entry, list) else [entry])]
            for name, entry in ids_of.items()
        }
    source = dict(
        data_root='mine/', img_dir='photos', ann_dir='masks', seg_map_suffix='_mask.png',
        id_map=as_stated,
    )  # fmt: skip
    target = dict(data_root='theirs/', img_dir='train')
    val = dict(data_root='theirs/', img_dir='val', ann_dir='val_masks', id_map=as_stated)
    return dict(classes=classes, source=source, target=target, val=val)
