"""Draw two domains to try own data on: ``python tools/make_own_domains.py``; see docs/own_data.md.

The scenes are StreetScenes' in a format of their own. ROOT/game has JPEG images with labels that
hold ids; ROOT/camera has images without labels, and validation images with coloured labels.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tools.openmp  # noqa: F401

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import name2label

from tools.convert_datasets.train_ids import write_atomically
from tools.make_street_scenes import FIRST_VAL
from tools.street_scenes.formats import label_ids
from tools.street_scenes.scene import draw_scene

# Cityscapes' name -> the game's id and the camera's colour (RGB); all others are 0 and black.
KINDS = {
    'road': (3, (60, 60, 60)),
    'sidewalk': (4, (200, 160, 160)),
    'car': (40, (220, 30, 30)),
    'truck': (41, (220, 30, 30)),
    'bus': (42, (220, 90, 30)),
    'vegetation': (70, (30, 160, 30)),
    'terrain': (71, (120, 200, 60)),
    'sky': (90, (120, 180, 240)),
}
IDS, COLORS = np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8)
for _name, (_id, _color) in KINDS.items():
    IDS[name2label[_name].id], COLORS[name2label[_name].id] = _id, _color


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('root', nargs='?', type=Path, default=Path('data/own_domains'))
    add('--num-source', type=int, default=60, help='labelled images of the game')
    add('--num-target', type=int, default=40, help='unlabelled of the camera')
    add('--num-val', type=int, default=8, help='labelled ones of the camera')
    return parser.parse_args(argv)


def main(argv=None):
    """Draw and write all images and labels."""
    args = parse_args(argv)
    game, camera = args.root / 'game', args.root / 'camera'
    for number in range(args.num_source):
        labels = _draw('source', number, game / 'photos' / f'frame_{number:04d}.jpg')
        _write(game / 'masks' / f'frame_{number:04d}_mask.png', IDS[labels])
    for number in range(args.num_target):
        _draw('target', number, camera / 'drive_1' / f'{number:04d}.jpg')
    for number in range(args.num_val):
        labels = _draw('target', FIRST_VAL + number, camera / 'drive_2' / f'{number:04d}.jpg')
        _write(camera / 'drive_2_colours' / f'{number:04d}.png', COLORS[labels][..., ::-1])
    print(f'{args.root}: {args.num_source + args.num_target + args.num_val} images.')


def _draw(domain, number, path):
    """Write the image of a scene; returns its label ids."""
    scene = draw_scene(0, domain, number)
    _write(path, scene.image[..., ::-1])
    return label_ids(scene)


def _write(path, image):
    """Write an image whose channels are blue, green, red, or grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, cv2.imencode(path.suffix, image)[1].tobytes())


if __name__ == '__main__':
    main()
