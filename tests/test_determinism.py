"""The same command gives the same tensors, with any number of workers and without target labels."""

import os
import shutil

import pytest
import torch
from mmcv import Config

from mmseg.engine.performance import set_determinism
from tests.tiny_runs import (
    FEATURE_DISTANCE,
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    run_experiment,
)

pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    # torch advises against more workers than there are cores.
    pytest.mark.filterwarnings('ignore:This DataLoader will create'),
]

KINDS = {
    'uda': (UDA_CONFIG, 'data.train.rare_class_sampling=None'),
    'source-only': (SOURCE_ONLY_CONFIG,),
    'target-only': (
        SOURCE_ONLY_CONFIG,
        'data.train.type=CityscapesDataset',
        'data.train.data_root=data/street_scenes/cityscapes/',
        'data.train.img_dir=leftImg8bit/train',
        'data.train.ann_dir=gtFine/train',
    ),
}


@pytest.fixture
def any_order_allowed():
    """Let torch be as it was after a test that switched its deterministic mode on."""
    yield
    set_determinism({})


def run_in(folder, config, *options, arguments=()):
    """Run in a folder of its own beside the data; its :class:`TrainedRun`."""
    data = os.path.realpath('data/street_scenes')
    (folder / 'data').mkdir(parents=True)
    (folder / 'data' / 'street_scenes').symlink_to(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_experiment(config, *options, arguments=arguments)
    return TrainedRun(folder)


@pytest.mark.parametrize(
    ('kind', 'workers'),
    [
        ('uda', 4),
        *(pytest.param(kind, 4, marks=pytest.mark.long) for kind in KINDS if kind != 'uda'),
        *(pytest.param(kind, 1, marks=pytest.mark.long) for kind in KINDS),
    ],
)
def test_same_command_with_any_number_of_workers(workplace, kind, workers):
    options = (*KINDS[kind], 'runner.max_iters=2')
    alone = run_in(workplace / 'one', *options)
    helped = run_in(workplace / 'other', *options, f'data.workers_per_gpu={workers}')
    assert_same_training(alone, helped)


@pytest.mark.parametrize('workers', [*(pytest.param(n, marks=pytest.mark.long) for n in (0, 1)), 4])
def test_same_with_rare_class_sampling_and_feature_distance(trained_run, tmp_path, workers):
    option = f'data.workers_per_gpu={workers}'
    again = run_in(tmp_path / 'again', UDA_CONFIG, *FEATURE_DISTANCE, option)
    assert_same_training(again, trained_run)


@pytest.mark.parametrize(('asked', 'benchmark'), [({}, False), ({'cudnn_benchmark': True}, True)])
def test_benchmarks_run_only_when_asked_for(asked, benchmark):
    set_determinism(asked)
    assert torch.backends.cudnn.benchmark is benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    set_determinism({})


def test_deterministic_sets_what_gpus_need(any_order_allowed, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    set_determinism({'deterministic': True, 'cudnn_benchmark': True})
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'


@pytest.mark.long
def test_deterministic_run_is_recorded_and_needs_nothing_else_on_the_cpu(
    trained_run, tmp_path, any_order_allowed, monkeypatch
):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')  # the user's own choice stays
    run = run_in(tmp_path / 'run', UDA_CONFIG, *FEATURE_DISTANCE, arguments=['--deterministic'])
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8'
    assert Config.fromfile(run.folder / run.config).deterministic is True
    assert_same_training(run, trained_run)


def test_target_labels_need_not_exist(own_data, shared_run):
    """A config as published ones are: it names the target's labels, and even loads them."""
    cfg = Config.fromfile(UDA_CONFIG)
    target = cfg.data.train.target
    target.ann_dir = 'gtFine/train'
    target.pipeline.insert(1, dict(type='LoadAnnotations'))
    target.pipeline[-1]['keys'].append('gt_semantic_seg')
    cfg.dump('published.py')
    shutil.rmtree(own_data / 'cityscapes/gtFine/train')
    run_experiment('published.py', *FEATURE_DISTANCE)
    assert_same_training(TrainedRun(own_data.parents[1]), shared_run)
