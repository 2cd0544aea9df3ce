"""How fast samples are loaded from images of GTA's and Cityscapes' size, on one core.

The reference, :func:`plain_sample`, is what the published code does: MMSegmentation's pipeline from
the start, decoding image and label again, for each crop that holds too little of the drawn class.
"""

import cProfile
import pstats
import statistics
from pathlib import Path

import numpy as np
import torch
from mmcv import Config

from mmseg.datasets import build_dataset
from mmseg.datasets.pipelines import LoadAnnotations
from mmseg.datasets.rare_class_sampling import MAX_CROP_REDRAWS, crop_with_class
from mmseg.utils.seeding import seed_for, seeded_globals
from tools import make_street_scenes
from tools.convert_datasets import gta

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
)
SCENES = ['--full-size', '--num-source', '80', '--num-target', '16', '--num-val', '0']
MIN_PIXELS = 3000
SAMPLES = 16  # of a round


def draw_data(root, nproc=2):
    """Draw the data, unless they are there: street scenes, long-tailed, with a class index.

    Args:
        root (str | Path): Their folder.
        nproc (int): Processes.
    """
    make_street_scenes.main([str(root), *SCENES, '--nproc', str(nproc)])
    gta.main([str(Path(root) / 'gta'), '--nproc', '1'])


def full_size_dataset(root, resized_dir=None):
    """The training data of the annotated config, with Rare Class Sampling, from ``root``.

    Args:
        root (str | Path): Where :func:`draw_data` drew them.
        resized_dir (str | None): Of UDADataset.
    """
    train = Config.fromfile(CONFIG).data.train
    train.source.data_root = str(Path(root) / 'gta')
    train.target.data_root = str(Path(root) / 'cityscapes')
    train.rare_class_sampling.min_pixels = MIN_PIXELS
    return build_dataset(train, dict(resized_dir=resized_dir))


def plain_sample(dataset, number):
    """Sample ``number`` by running the source's whole pipeline again for each rejected crop.

    Class and images are those of ``dataset[number]``; the crop is another one, since rejected crops
    draw a flip, too.

    Args:
        dataset (UDADataset): With Rare Class Sampling.
        number (int): Of the sample.

    Returns:
        tuple[dict, int]: The sample and the number of redraws.
    """
    class_id, source_index, target_index = dataset.draw_pair(number)
    with seeded_globals(seed_for(dataset.seed, 'source', number)):
        source, redraws = dataset.source[source_index], 0
        while redraws < MAX_CROP_REDRAWS and _too_few(source, class_id, dataset.min_crop_pixels):
            source, redraws = dataset.source[source_index], redraws + 1
    with seeded_globals(seed_for(dataset.seed, 'target', number)):
        target = dataset.target.prepare_test_img(target_index)
    sample = {
        **source, 'target_img': target['img'], 'target_img_metas': target['img_metas'],
    }  # fmt: skip
    return sample, redraws


def _too_few(source, class_id, min_pixels):
    return np.count_nonzero(source['gt_semantic_seg'].data.numpy() == class_id) <= min_pixels


def measure_loader(clock, rounds, data_root, nproc=2):
    """Load the same samples with the project's loader and with the plain one, in turn.

    The project's is measured without and with ``resized_dir``, there with all images kept already.

    Args:
        clock (Clock): Of the CPU.
        rounds (int): Of ``SAMPLES`` samples each.
        data_root (str | Path): Where the data are, or will be drawn.
        nproc (int): Processes that draw them.

    Returns:
        dict: For JSON. Samples are pairs of source and target, ``per_s`` is per second and core;
        ``ratio`` is that to the plain loader over all samples, ``ratio_of_rounds`` lists those of
        the rounds.
    """
    draw_data(data_root, nproc)
    dataset = full_size_dataset(data_root)
    keeping = full_size_dataset(data_root, str(Path(data_root) / 'resized'))
    numbers = range((rounds + 1) * SAMPLES)  # with those of the warm-up
    for number in numbers:
        keeping[number]
    plain = _InTurn(lambda number: plain_sample(dataset, number)[1])
    candidates = {
        'ours': _InTurn(dataset.__getitem__), 'kept': _InTurn(keeping.__getitem__), 'plain': plain
    }  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # OpenCV has none of its own already
    try:
        timings = clock.take_turns(candidates, rounds)
        parts = {
            'ours': _milliseconds_by_part(dataset, numbers[-SAMPLES:]),
            'kept': _milliseconds_by_part(keeping, numbers[-SAMPLES:]),
        }
    finally:
        torch.set_num_threads(threads)
    plain_seconds = timings['plain'].seconds
    return {
        **{
            name: {
                'per_s': rounds * SAMPLES / sum(timing.seconds),
                'ratio': sum(plain_seconds) / sum(timing.seconds),
                'ratio_of_rounds': [
                    p / s for s, p in zip(timing.seconds, plain_seconds, strict=True)
                ],
                **timing.as_dict(),
            }
            for name, timing in timings.items()
        },
        'samples_per_round': SAMPLES,
        # those of the first call are not in the timings
        'redraws_per_sample': statistics.mean(plain.found[SAMPLES:]),
        'ms_by_part': parts,
        'megabytes_per_image': _megabytes_per_image(data_root),
    }


class _InTurn:
    """Loads the next samples each time that it is called.

    Args:
        load (Callable[[int], object]): Loads one.
    """

    def __init__(self, load):
        self.load, self.next, self.found = load, 0, []

    def __call__(self):
        found = [self.load(number) for number in range(self.next, self.next + SAMPLES)]
        self.next += SAMPLES
        # of the project's loader nothing is kept: a sample takes 7 MB
        self.found += [value for value in found if isinstance(value, int)]


def _milliseconds_by_part(dataset, numbers):
    """Mean time of each transform in a sample; those of source and target are added up."""
    profile = cProfile.Profile()
    for number in numbers:
        profile.runcall(dataset.__getitem__, number)
    stats = pstats.Stats(profile)
    transforms = [*dataset.source.pipeline.transforms, *dataset.target.pipeline.transforms]
    calls = {'choose the crop': crop_with_class}
    for transform in transforms:
        inner = _innermost(transform)
        # Labels are decoded by what surrounds their loading.
        is_label = isinstance(inner, LoadAnnotations) and transform is not inner
        calls[type(inner).__name__] = transform._load if is_label else inner.__call__
    milliseconds = {}
    for name, call in calls.items():
        code = call.__code__
        entry = stats.stats.get((code.co_filename, code.co_firstlineno, code.co_name))
        milliseconds[name] = 1000 * entry[3] / len(numbers) if entry else 0.0
    milliseconds['all'] = 1000 * stats.total_tt / len(numbers)
    return milliseconds


def _innermost(transform):
    """The transform in those that only surround its loading."""
    while hasattr(transform, 'load'):
        transform = transform.load
    return transform


def _megabytes_per_image(root):
    folders = {'source': 'gta/images', 'target': 'cityscapes/leftImg8bit/train'}
    return {
        name: statistics.mean(p.stat().st_size for p in (Path(root) / folder).rglob('*.png')) / 1e6
        for name, folder in folders.items()
    }
