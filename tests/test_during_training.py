"""What goes wrong in the middle of a run: it stops with the names of the files and loses nothing."""

import os
import re

import pytest
import torch

from tests.tiny_runs import (
    FEATURE_DISTANCE,
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    only,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')


def mistake(run):
    """The message of one line with which a run ends, and what it logged."""
    with pytest.raises(SystemExit) as exit_info:
        run()
    message = exit_info.value.code
    assert message.startswith('Error: ') and '\n' not in message
    logs = [open(path).read() for path in (only('work_dirs/*/*/*.log'),)]
    return message, logs[0]


# Losses that are not finite


def break_mixed_images(patch, iteration):
    """NaN in the mixed images: the teacher and BatchNorm have moved before the loss shows it."""
    from mmseg.models.uda.dacs import DACS

    original = DACS._augment

    def augment(self, img, img_metas, step):
        img = original(self, img, img_metas, step)
        return img * float('nan') if step.iteration == iteration else img

    patch.setattr(DACS, '_augment', augment)


def test_run_with_a_nan_leaves_the_state_before_it(workplace, monkeypatch, shared_run):
    with monkeypatch.context() as patch:
        break_mixed_images(patch, 2)
        message, log = mistake(lambda: run_experiment(UDA_CONFIG, *FEATURE_DISTANCE))
    run = TrainedRun(workplace)
    assert 'iteration 3: mix.decode.loss_ce is not finite' in message
    assert f'{run.work_dir}/resume_2.pth is the state before it' in message
    assert re.search(
        r'The losses of iteration 3: decode.loss_ce [\d.]+, src.loss_imnet_feat_dist [\d.]+, '
        r'mix.decode.loss_ce nan\nImages: .*gta/images/\d+\.png, .*gta/images/\d+\.png\n'
        r'Target images: .*train/.*\.png, .*train/.*\.png\n',
        log,
    )
    assert os.readlink(run.checkpoint) == 'resume_2.pth'
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)  # as if the cause were mended
    assert_same_training(run, shared_run)
