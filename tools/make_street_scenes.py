"""Draw the StreetScenes data set: a game-like source and a camera-like target.

ROOT/gta is in GTA's raw format, ROOT/cityscapes in that of Cityscapes, for the converters of
tools/convert_datasets. Scenes that are there already are kept.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tools.openmp  # noqa: F401

import cv2
from tqdm import tqdm

from tools.convert_datasets.train_ids import write_atomically
from tools.street_scenes.formats import cityscapes_paths, gta_paths, write_cityscapes, write_gta
from tools.street_scenes.scene import draw_scene

FIRST_VAL = 1_000_000  # number of the first scene of val, so that no size of train reaches it
README = """StreetScenes: procedurally drawn street scenes, seed {seed}.

gta/ is the labelled source, a clean game-like look, in the format of the GTA data set.
cityscapes/ is the target, a hazy camera-like look, in the format of Cityscapes.
Everything was drawn by tools/make_street_scenes.py; no image is from a game or a camera.
It is a small test bed to see the code work on. It proves nothing about GTA or Cityscapes.
"""


def draw_job(job, root, seed):
    """Draw and write one scene, ``job`` being its split and number, unless it is there."""
    split, index = job
    if split == 'source':
        paths, write, domain = gta_paths(root, index), write_gta, 'source'
    else:
        paths, write, domain = cityscapes_paths(root, split, index), write_cityscapes, 'target'
    if all(path.exists() for path in paths):
        return
    number = index + FIRST_VAL if split == 'val' else index
    write(draw_scene(seed, domain, number), *paths)


def claim_root(root, seed):
    """Write the README that marks the folder; exit where other scenes are in it."""
    readme = root / 'README.txt'
    content = README.format(seed=seed)
    if readme.exists() and readme.read_text() != content:
        sys.exit(f'{root} holds scenes of another seed. Give another folder.')
    if not readme.exists() and root.is_dir() and any(root.iterdir()):
        sys.exit(f'{root} is not empty and not of StreetScenes. Give another folder.')
    root.mkdir(parents=True, exist_ok=True)
    write_atomically(readme, content.encode())


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('root', nargs='?', type=Path, default=Path('data/street_scenes'))
    add('--seed', type=int, default=0)
    add('--num-source', type=int, default=240, help='labelled source scenes')
    add('--num-target', type=int, default=120, help='target scenes for training')
    add('--num-val', type=int, default=40, help='target scenes for evaluation')
    add('--nproc', type=int, default=2, help='number of processes (default: 2)')
    args = parser.parse_args(argv)
    if min(args.seed, args.num_source, args.num_target, args.num_val) < 0 or args.nproc < 1:
        parser.error('numbers must not be negative, and --nproc must be at least 1')
    return args


def main(argv=None):
    args = parse_args(argv)
    claim_root(args.root, args.seed)
    counts = {'source': args.num_source, 'train': args.num_target, 'val': args.num_val}
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    draw = partial(draw_job, root=args.root, seed=args.seed)
    # Fresh processes, for OpenCV hangs when it is forked after it has used threads.
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(args.nproc, spawn, cv2.setNumThreads, (1,)) as pool:
        try:
            list(
                tqdm(pool.map(draw, jobs, chunksize=4), total=len(jobs), unit='scene', disable=None)
            )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print(f'{args.root}: {len(jobs)} scenes.')


if __name__ == '__main__':
    main()
