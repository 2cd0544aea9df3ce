"""Draw the StreetScenes data set: a game-like source and a camera-like target.

ROOT/gta is in GTA's raw format, ROOT/cityscapes in that of Cityscapes, for the converters of
tools/convert_datasets. With --styles, ROOT/acdc has other scenes as the target's camera sees them
by night or in fog, labelled, in the format of ACDC, which needs no conversion. Scenes that are
there already are kept, so styles can be added later.
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
from tools.street_scenes.formats import (
    acdc_paths,
    cityscapes_paths,
    gta_paths,
    write_acdc,
    write_cityscapes,
    write_gta,
)
from tools.street_scenes.scene import draw_scene
from tools.street_scenes.styles import CONDITIONS

FIRST_VAL = 1_000_000  # number of the first scene of val, so that no size of train reaches it
README = """StreetScenes: procedurally drawn street scenes, seed {seed}.

gta/ is the labelled source, a clean game-like look, in the format of the GTA data set.
cityscapes/ is the target, a hazy camera-like look, in the format of Cityscapes.
acdc/, if it was asked for, is that camera by night or in fog, in the format of ACDC.
Everything was drawn by tools/make_street_scenes.py; no image is from a game or a camera.
It is a small test bed to see the code work on. It proves nothing about GTA, Cityscapes or ACDC.
"""


def draw_job(job, root, seed):
    """Draw and write one scene, ``job`` being its domain, split and number, unless it is there."""
    domain, split, index = job
    if domain == 'source':
        paths, write = gta_paths(root, index), write_gta
    elif domain == 'target':
        paths, write = cityscapes_paths(root, split, index), write_cityscapes
    else:
        paths, write = acdc_paths(root, domain, split, index), write_acdc
    if all(path.exists() for path in paths):
        return
    number = index + FIRST_VAL if split == 'val' else index
    write(draw_scene(seed, domain, number), *paths)


def claim_root(root, seed):
    """Write the README that marks the folder; exit where other scenes are in it.

    Its first line tells the seed; the others may be those of another version of this tool.
    """
    readme = root / 'README.txt'
    content = README.format(seed=seed)
    mark = content.splitlines()[0]
    if readme.exists() and readme.read_text().splitlines()[:1] != [mark]:
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
    add(
        '--styles', nargs='+', choices=CONDITIONS, default=[],
        help='also draw these, --num-target and --num-val scenes each, with labels',
    )  # fmt: skip
    add('--nproc', type=int, default=2, help='number of processes (default: 2)')
    args = parser.parse_args(argv)
    if min(args.seed, args.num_source, args.num_target, args.num_val) < 0 or args.nproc < 1:
        parser.error('numbers must not be negative, and --nproc must be at least 1')
    return args


def main(argv=None):
    args = parse_args(argv)
    claim_root(args.root, args.seed)
    counts = {('source', 'train'): args.num_source}
    for domain in ('target', *args.styles):
        counts |= {(domain, 'train'): args.num_target, (domain, 'val'): args.num_val}
    jobs = [(*place, index) for place, count in counts.items() for index in range(count)]
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
