"""What goes wrong in the middle of a run: it stops, names the files, and nothing is lost."""

import logging
import os
import re
import signal

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mmseg.datasets import CityscapesDataset
from mmseg.engine.runner import SeededRunner
from mmseg.models.builder import SEGMENTORS
from mmseg.models.uda import Supervised
from mmseg.models.uda.strong_augmentation import StrongAugmentation
from mmseg.utils.gradients import Snapshot
from mmseg.utils.user_error import UserError
from tests.tiny_runs import (
    FEATURE_DISTANCE,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    only,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')


def log_text():
    """The text log of the only run below the current folder."""
    with open(only('work_dirs/*/*/*.log')) as file:
        return file.read()


# Losses and gradients that are not finite


def break_mixed_images(patch, iteration):
    """NaN in the mixed images: BatchNorm has moved before a loss shows it."""
    original = StrongAugmentation.__call__

    def augment(self, img, img_norm_cfg, step):
        img = original(self, img, img_norm_cfg, step)
        return img * float('nan') if step.iteration == iteration else img

    patch.setattr(StrongAugmentation, '__call__', augment)


def test_run_with_a_nan_leaves_the_state_before_it(workplace, monkeypatch, shared_run):
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_info:
        break_mixed_images(patch, 2)
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    run, message = TrainedRun(workplace), exit_info.value.code
    assert message.startswith('Error: iteration 3: mix.decode.loss_ce is not finite')
    assert f'{run.work_dir}/resume_2.pth is the state before it' in message
    assert '\n' not in message and 'optimizer.lr' in message
    assert re.search(
        r'Iteration 3, the losses: decode.loss_ce [\d.]+, src.loss_imnet_feat_dist [\d.]+, '
        r'mix.decode.loss_ce nan\nImages: .*gta/images/\d+\.png, .*gta/images/\d+\.png\n'
        r'Target images: .*train/.*\.png, .*train/.*\.png\n',
        log_text(),
    )
    assert os.readlink(run.checkpoint) == 'resume_2.pth'
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)  # as if the cause were mended
    assert_same_training(run, shared_run)


@SEGMENTORS.register_module()
class OneWeight(nn.Module):
    """A network of one weight and a BatchNorm, trained on labels that it does not look at."""

    with_neck = False

    def __init__(self, train_cfg=None, test_cfg=None):
        super().__init__()
        self.backbone, self.decode_head = nn.BatchNorm1d(1), nn.Identity()
        self.weight = nn.Parameter(torch.ones(1))

    def forward_train(self, img, img_metas, gt_semantic_seg):
        loss = (self.weight * self.backbone(img)).square().mean()
        return {'loss_ce': loss + img_metas[0]['more'](self.weight)}


def no_more(weight):
    return 0 * weight.sum()


def train_one_weight(work_dir, batches):
    torch.manual_seed(0)
    model = Supervised(dict(type='OneWeight'))
    runner = SeededRunner(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.1),
        work_dir=str(work_dir),
        logger=logging.getLogger('test'),
        meta={},
        max_iters=len(batches),
        seed=0,
        device=torch.device('cpu'),
    )
    checkpoints = dict(by_epoch=False, interval=len(batches))
    logs = dict(interval=1, hooks=[])
    runner.register_hooks(dict(policy='fixed'), checkpoints, logs, None, [])
    runner.run(batches)


def batch_of(values, more=no_more):
    metas = [dict(filename='a.png', more=more)]
    return dict(img=torch.tensor(values)[:, None], img_metas=metas, gt_semantic_seg=[None])


GOOD = batch_of([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ('broken', 'what', 'details'),
    [
        (batch_of([1.0, 2.0, float('nan')]), 'loss_ce is', 'loss_ce nan'),
        (batch_of([1.0, 2.0, 4.0], lambda weight: weight.sum() / 0), 'loss_ce is', 'loss_ce inf'),
        # 0, with a gradient of 0 times infinity.
        (batch_of([1.0, 2.0, 4.0], lambda weight: (0 * weight).sqrt().sum()), 'the gradient is',
         'finite; their gradient overflowed'),
    ],
)  # fmt: skip
def test_state_before_is_left_without_uda_too(tmp_path, caplog, broken, what, details):
    train_one_weight(tmp_path / 'good', [GOOD])
    with pytest.raises(UserError, match=rf'iteration 2: {what} not finite.*resume_1\.pth is the'):
        train_one_weight(tmp_path / 'broken', [GOOD, broken, GOOD])
    assert f'Iteration 2, the losses: {details}\nImages: a.png' in caplog.text
    expected, left = (
        torch.load(tmp_path / path, weights_only=True)
        for path in ('good/iter_1.pth', 'broken/resume_1.pth')
    )
    assert left == expected


def test_label_without_a_class_gives_losses_that_are_finite():
    """No thing class for the feature distance, nothing but ignored pixels for the cross entropy."""
    from mmseg.utils.seeding import Step
    from tests.test_dacs import THINGS, build_dacs, random_batch

    dacs = build_dacs(
        imnet_feature_dist_lambda=0.005, imnet_feature_dist_classes=THINGS,
        imnet_feature_dist_scale_min_ratio=0.75, debug_img_interval=0,
    )  # fmt: skip
    dacs.init_weights()
    dacs.train()
    optimizer = torch.optim.AdamW(dacs.model.parameters(), lr=1e-3)
    for iteration, only_class in enumerate((0, 255)):
        data = random_batch()
        data['gt_semantic_seg'][:] = only_class
        log = dacs.train_step(data, optimizer, step=Step(0, iteration))['log_vars']
        assert log['src.loss_imnet_feat_dist'] == 0
        assert all(np.isfinite(value) for value in log.values())
    assert all(weight.isfinite().all() for weight in dacs.state_dict().values())


def test_a_snapshot_restores_tensors_of_all_types():
    norm = nn.BatchNorm2d(2)
    snapshot = Snapshot(norm.buffers())
    for restored in (0, 1):
        norm.running_mean.fill_(restored)
        norm.num_batches_tracked.fill_(restored)
        snapshot.take()
        norm(torch.randn(2, 2, 4, 4))
        snapshot.restore()
        assert norm.running_mean.tolist() == [restored] * 2
        assert norm.num_batches_tracked == restored


# Files that cannot be read


def shorten(path):
    with open(path, 'r+b') as file:
        file.truncate(os.path.getsize(path) // 2)


def shrink(path):
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:-8])


def relabel(path):
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[0, 0] = 33
    cv2.imwrite(str(path), label)


def test_run_names_the_file_that_a_worker_cannot_read(own_data, monkeypatch):
    # As if the files had been damaged after the checks at the start.
    monkeypatch.setattr('tools.launch.check_files', lambda *cfgs: None)
    for path in (own_data / 'cityscapes/leftImg8bit/train').rglob('*.png'):
        shorten(path)
    with pytest.raises(SystemExit) as exit_info:
        run_experiment(UDA_CONFIG, 'data.workers_per_gpu=2')
    assert re.fullmatch(
        r'Error: \S*leftImg8bit/train/\S+\.png cannot be read: .*', exit_info.value.code
    )


@pytest.mark.parametrize(
    ('folder', 'breaks', 'says'),
    [
        ('leftImg8bit', shorten, 'cannot be read: damaged, or not an image'),
        ('gtFine', os.remove, 'cannot be read: No such file'),
        ('gtFine', shorten, 'cannot be read: damaged, or not an image'),
        ('gtFine', relabel, r'holds ids that are neither 0\.\.18 nor 255 \(ignored\): 33;'),
        ('gtFine', shrink, r'has the shape \(\d+, \d+\), but its image \S+ \(\d+, \d+\)'),
    ],
)
def test_evaluation_names_the_file(own_data, shared_run, folder, breaks, says):
    from tools import test

    pattern = '*_labelTrainIds.png' if folder == 'gtFine' else '*.png'
    path = max((own_data / 'cityscapes' / folder / 'val').rglob(pattern))
    run = shared_run.folder
    breaks(path)
    with pytest.raises(SystemExit, match=rf'^Error: \S*{path.name} {says}[^\n]*$'):
        test.main([str(run / shared_run.config), str(run / shared_run.checkpoint)])


# Classes that get lost


def test_class_that_is_predicted_no_more_is_warned_of(workplace, monkeypatch):
    """Everything is found at the first evaluation; after a stop the student sees only road."""
    from mmseg.models.uda.dacs import DACS

    def train_step(self, batch, optimizer, *, step):
        if step.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return dict(log_vars={'decode.loss_ce': 1.0}, num_samples=2)

    def gt(segmentor, dataset, device, **loading):
        for index in range(len(dataset)):
            label = dataset.get_gt_seg_map_by_idx(index)
            yield index, label, label

    def road(*arguments, **loading):
        for index, label, _ in gt(*arguments):
            found.update(label.ravel().tolist())
            yield index, np.zeros_like(label), label

    found = set()
    monkeypatch.setattr(DACS, 'train_step', train_step)
    monkeypatch.setattr('mmseg.engine.hooks.predict', gt)
    with pytest.raises(SystemExit):
        run_experiment(UDA_CONFIG)
    assert 'any more' not in log_text()
    monkeypatch.setattr('mmseg.engine.hooks.predict', road)
    run_experiment(UDA_CONFIG)
    warning = re.search(r'WARNING - Iteration 4: .* any more: (.*)', log_text())
    lost = {CityscapesDataset.CLASSES[train_id] for train_id in found - {0, 255}}
    assert set(warning[1].split(', ')) == lost and len(lost) > 5
