"""Folders as runs leave them, written by hand: what tests of the report read."""

import json

import numpy as np
from PIL import Image

CLASSES = ['road', 'sidewalk', 'train']
PALETTE = [[128, 64, 128], [244, 35, 232], [0, 80, 100]]
CONFUSION = [[900, 100, 0], [310, 690, 0], [30, 20, 50]]

_SOURCE = {'type': 'GTADataset', 'data_root': 'data/gta/', 'img_dir': 'images'}
_TARGET = {'type': 'CityscapesDataset', 'data_root': 'data/cityscapes/', 'img_dir': 'train'}


def write_run(
    folder, name='daformer', seed=0, mious=(0.2, 0.4), max_iters=40, uda=True, **settings
):
    """Write config, JSON log and text log of a run, as older code leaves them.

    Args:
        folder (Path): Is made.
        mious (Sequence[float]): One per evaluation, every 20 iterations; the log reaches the last.
        uda (bool): Else a source-only run.
        **settings: More entries of the config.
    """
    folder.mkdir(parents=True)
    train = {**_SOURCE}
    if uda:
        sampling = {'min_pixels': 3000, 'class_temp': 0.01}
        train = {'type': 'UDADataset', 'source': train, 'target': _TARGET,
                 'rare_class_sampling': sampling}  # fmt: skip
    config = {
        'name': name, 'seed': seed, 'git_rev': 'abc1234', 'load_from': None,
        'runner': {'max_iters': max_iters},
        'model': {'backbone': {'type': 'mit_b5'}, 'decode_head': {'type': 'DAFormerHead'}},
        'data': {'samples_per_gpu': 2, 'train': train, 'val': {**_TARGET, 'img_dir': 'val'}},
        **({'uda': {'type': 'DACS', 'alpha': 0.999}} if uda else {}), **settings,
    }  # fmt: skip
    (folder / f'{name}.json').write_text(json.dumps(config))
    meta = {
        'exp_name': name, 'CLASSES': CLASSES, 'PALETTE': PALETTE, 'seed': seed,
        'environment': {'python': '3.11.7', 'torch': '2.14.1', 'threads': 2, 'device': 'cpu'},
    }  # fmt: skip
    entries = [meta]
    for number, miou in enumerate(mious):
        for step in (10, 20):
            iteration = 20 * number + step
            entries.append(
                {'mode': 'train', 'iter': iteration, 'lr': 6e-5, 'time': 0.5,
                 'decode.loss_ce': 2 / iteration, **({'mix.decode.loss_ce': 0.5} if uda else {})}
            )  # fmt: skip
        ious = {'IoU.road': 0.9, 'IoU.sidewalk': miou, 'IoU.train': float('nan')}
        entries.append({'mode': 'val', 'iter': iteration, 'mIoU': miou, **ious})
    lines = ''.join(f'{json.dumps(entry)}\n' for entry in entries)
    (folder / '20261123_070000.log.json').write_text(lines)
    (folder / '20261123_070000.log').write_text('2026-11-23 07:00:00 - mmseg - INFO - begin\n')
    return folder


def write_records(folder, iterations=(20, 40), images=4, noise=None):
    """Add what newer runs leave: evaluations, what Rare Class Sampling drew, class-mix pictures.

    Args:
        noise (np.random.Generator | None): Large pictures that cannot be compressed, instead of
            small ones of one colour.
    """
    for iteration in iterations:
        content = {'iter': iteration, 'classes': CLASSES, 'confusion': CONFUSION}
        write_json(folder / 'evaluation' / f'iter_{iteration:06d}.json', content)
        for number in range(images):
            path = folder / 'evaluation' / f'iter_{iteration:06d}_{number}.png'
            _write_picture(path, (2064, 288) if noise else (80, 12), noise)
            path = folder / 'class_mix_debug' / f'{iteration:06d}_{number}.png'
            _write_picture(path, (1620, 692) if noise else (60, 24), noise)
    drawing = {
        'iter': iterations[-1], 'classes': CLASSES, 'share': [0.7, 0.29, 0.01],
        'wanted': [0.0, 0.1, 0.9], 'drawn': [0, 8, 72], 'min_pixels': 3000,
    }  # fmt: skip
    write_json(folder / 'evaluation' / 'rare_class_sampling.json', drawing)
    return folder


def add_log_line(folder, text):
    """Append to the JSON log."""
    with open(folder / '20261123_070000.log.json', 'a') as file:
        file.write(text)


def write_json(path, content):
    """Write a file; its folder is made."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def _write_picture(path, size, noise):
    path.parent.mkdir(exist_ok=True)
    pixels = np.full((size[1], size[0], 3), (70, 130, 180), np.uint8)
    if noise is not None:
        pixels = noise.integers(0, 256, pixels.shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, compress_level=1)
