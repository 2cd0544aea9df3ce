"""Runs of seconds: the options that make them small, and what tests ask of the files they leave."""

import contextlib
import errno
import glob
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

CHECKOUT = Path(__file__).resolve().parents[1]
UDA_CONFIG = CHECKOUT / 'configs/street_scenes/uda_mitb0.py'
SOURCE_ONLY_CONFIG = CHECKOUT / 'configs/street_scenes/source_only_mitb0.py'

SMALL = (
    'runner.max_iters=4',
    'evaluation.interval=2',
    'log_config.interval=2',
    'data.samples_per_gpu=2',
    'data.workers_per_gpu=0',
    'model.decode_head.channels=16',
    'model.decode_head.decoder_params.embed_dims=16',
)
# A handful of images has no large motorcycle.
SMALL_UDA = (*SMALL, 'data.train.rare_class_sampling.min_pixels=0', 'uda.debug_img_interval=2')
FEATURE_DISTANCE = (
    'uda.imnet_feature_dist_lambda=0.005',
    'uda.imnet_feature_dist_classes=6,7,11,12,13,14,15,16,17,18',
    'uda.imnet_feature_dist_scale_min_ratio=0.75',
)


def run_experiment(config, *options, arguments=()):
    """Call run_experiments.py on a config, made small, with more KEY=VALUE options."""
    import run_experiments

    small = SMALL if config == SOURCE_ONLY_CONFIG else SMALL_UDA
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_experiments.main(
            ['--config', str(config), *arguments, '--cfg-options', *small, *options]
        )
    finally:
        torch.set_num_threads(threads)


def run_python(*arguments, cwd):
    """Run ``python ARGUMENTS`` in a process of its own, as a user would."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def resolve(stated):
    """Return the complete config that a stated one, with its ``_base_``, means."""
    from mmseg.engine.config import complete_config
    from tools.launch import read_stated

    return complete_config(read_stated(stated), stated['name'])


def noted_steps(patch):
    """Note what each iteration of the runs to come is given, and which losses it finds.

    Args:
        patch (pytest.MonkeyPatch): Until when.

    Returns:
        dict: Iteration, from 0, to {name: tensor, file names or loss}.
    """
    from mmseg.models.uda.dacs import DACS

    steps = {}
    original = DACS.train_step

    def train_step(self, batch, optimizer, *, step):
        noted = {key: value.clone() for key, value in batch.items() if torch.is_tensor(value)}
        for key in ('img_metas', 'target_img_metas'):
            noted[key] = [meta['filename'] for meta in batch[key]]
        outputs = original(self, batch, optimizer, step=step)
        assert step.iteration not in steps, 'an iteration was run twice'
        steps[step.iteration] = {**noted, **outputs['log_vars']}
        return outputs

    patch.setattr(DACS, 'train_step', train_step)
    return steps


def assert_same_steps(one, other):
    """Check that the same iterations were given the same batches and found the same losses."""
    assert list(one) == list(other)
    for iteration, noted in one.items():
        assert list(noted) == list(other[iteration])
        for name, value in noted.items():
            expected = other[iteration][name]
            same = torch.equal(value, expected) if torch.is_tensor(value) else value == expected
            assert same, (iteration, name)


def predict_image(segmentor, cfg, path):
    """Train ids (H, W) of an image file, by the config's test pipeline."""
    from mmseg.datasets.dataloader import collate
    from mmseg.datasets.pipelines import Compose
    from mmseg.engine.predict import predict_labels

    sample = Compose(cfg.data.test.pipeline)(dict(img_info=dict(filename=path), img_prefix=None))
    return predict_labels(segmentor, **collate([sample]))[0]


def only(pattern):
    """The one path that a pattern matches."""
    (path,) = glob.glob(str(pattern))
    return path


def files_below(folder):
    """Paths of all files below a folder."""
    return sorted(path for path in Path(folder).rglob('*') if not path.is_dir())


def records_in(work_dir):
    """What a run recorded of its evaluations and samples: file name → content."""
    return {path.name: path.read_bytes() for path in Path(work_dir).glob('evaluation/*')}


class TrainedRun:
    """The files of the only run in a folder; paths are relative to that folder.

    Args:
        folder (Path): Where the command ran.
        steps (dict | None): What :func:`noted_steps` noted of it.
    """

    def __init__(self, folder, steps=None):
        self.folder = folder
        self.steps = steps
        self.work_dir = os.path.relpath(only(folder / 'work_dirs/*/*'), folder)
        self.name = os.path.basename(self.work_dir)
        self.config = os.path.join(self.work_dir, f'{self.name}.json')
        self.checkpoint = os.path.join(self.work_dir, 'latest.pth')

    def load(self):
        """The content of ``latest.pth``."""
        return torch.load(self.folder / self.checkpoint, map_location='cpu', weights_only=True)

    def log(self, mode):
        """The entries of the JSON log whose mode is ``'train'`` or ``'val'``."""
        with open(only(self.folder / self.work_dir / '*.log.json')) as file:
            entries = [json.loads(line) for line in file]
        return [entry for entry in entries if entry.get('mode') == mode]

    def predict(self, image, network='model.'):
        """Train ids of a BGR image (H, W, 3), computed from the checkpoint by hand.

        Args:
            network (str): Prefix of the student's or the teacher's names.
        """
        import mmcv

        from mmseg.models import build_segmentor

        config = mmcv.Config.fromfile(self.folder / self.config)
        segmentor = build_segmentor(config.model).eval()
        weights = self.load()['state_dict']
        segmentor.load_state_dict(
            {k.removeprefix(network): v for k, v in weights.items() if k.startswith(network)}
        )
        mean = np.array([123.675, 116.28, 103.53], np.float32)
        std = np.array([58.395, 57.12, 57.375], np.float32)
        pixels = mmcv.imnormalize(
            mmcv.imrescale(image, tuple(config.data.test.pipeline[1].img_scale)), mean, std
        )
        pixels = torch.from_numpy(pixels.transpose(2, 0, 1))[None]
        with torch.no_grad():
            logits = segmentor.encode_decode(pixels, [{}])
        logits = torch.nn.functional.interpolate(logits, image.shape[:2], mode='bilinear')
        return logits.argmax(1)[0].numpy()


def assert_same_training(one, other):
    """Check that two runs' checkpoints hold equal networks and optimizer states, bit for bit."""
    one, other = one.load(), other.load()
    assert list(one['state_dict']) == list(other['state_dict'])
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name
    assert one['optimizer']['param_groups'] == other['optimizer']['param_groups']
    states, other_states = one['optimizer']['state'], other['optimizer']['state']
    assert list(states) == list(other_states)
    for number, state in states.items():
        for key, value in state.items():
            assert torch.equal(value, other_states[number][key]), (number, key)
    assert one['meta']['log_window'] == other['meta']['log_window']


_read_only = set()


def _refuse_to_write(event, arguments):
    if not _read_only or event not in _WRITES:
        return
    if event == 'open' and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    if event == 'os.mkdir' and os.path.isdir(arguments[0]):
        return
    for path in arguments[: 2 if event == 'os.rename' else 1]:
        if not isinstance(path, int):
            place = Path(os.path.realpath(os.fsdecode(path)))
            if _read_only & {place, *place.parents}:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


_WRITES = ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.symlink', 'os.utime', 'os.truncate')


@contextlib.contextmanager
def read_only(folder):
    """Let this process, and those it forks, find a folder on a read-only file system.

    Permissions would not do: they do not bind root.
    """
    if not hasattr(read_only, 'hook'):  # it cannot be taken away again
        read_only.hook = _refuse_to_write
        sys.addaudithook(_refuse_to_write)
    path = Path(folder).resolve()
    _read_only.add(path)
    try:
        yield
    finally:
        _read_only.remove(path)
