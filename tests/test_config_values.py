"""Values of a config: what cannot be is refused with its key, what can be is not."""

import copy

import pytest
import torch
from torch import nn

from mmseg.engine.config import load_config
from mmseg.engine.config_checks.blame import blamed_on
from mmseg.engine.config_checks.values import check_values
from mmseg.engine.train import _try_on_shapes
from mmseg.models import build_segmentor
from mmseg.utils.user_error import UserError
from tests.tiny_runs import CHECKOUT, SOURCE_ONLY_CONFIG, UDA_CONFIG

GTA_CONFIG = (
    CHECKOUT / 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
)
RCS, SOURCE = 'data.train.rare_class_sampling', 'data.train.source'


def check(overrides, path=GTA_CONFIG):
    check_values(load_config(str(path), overrides), str(path))


@pytest.mark.parametrize(
    ('overrides', 'says'),
    [
        ({'runner.max_iters': 0}, 'runner.max_iters is 0; it has to be a whole number above 0'),
        ({'runner.max_iters': 4e4}, 'runner.max_iters is 40000.0; it has to be a whole number'),
        ({'data.samples_per_gpu': '2'}, "data.samples_per_gpu is '2'; it has to be a whole number"),
        ({'data.workers_per_gpu': -1}, 'data.workers_per_gpu is -1; it has to be a whole number'),
        ({'data.test_dataloader.samples_per_gpu': 0}, 'loader.samples_per_gpu is 0; it has to be'),
        ({'data.val_dataloader': 4}, 'data.val_dataloader is 4; it has to be a dict or None'),
        ({'optimizer.lr': None}, 'optimizer.lr is missing'),
        ({'optimizer.lr': float('nan')}, 'optimizer.lr is nan; it has to be a number above 0'),
        ({'optimizer.betas': (0.9, 1.0)}, 'optimizer.betas is .* two numbers from 0 to below 1'),
        ({'lr_config.by_epoch': True}, 'lr_config.by_epoch is True; it has to be False'),
        ({'lr_config.warmup': 'cosine'}, "lr_config.warmup is 'cosine'; .* 'constant', 'linear'"),
        ({'uda.alpha': 1.5}, 'uda.alpha is 1.5; it has to be a number from 0 to 1'),
        ({'uda.blur': 'no'}, "uda.blur is 'no'; it has to be True or False"),
        ({'uda.imnet_feature_dist_classes': [6, 19]}, r'\[19\]; with .* the last train id is 18'),
        ({'uda.imnet_feature_dist_scale_min_ratio': None}, 'classes needs uda.imnet_.*min_ratio'),
        ({f'{RCS}.class_temp': 0}, f'{RCS}.class_temp is 0; it has to be a number above 0'),
        ({RCS: {'_delete_': True, 'min_pixels': 5}}, f'{RCS}.class_temp is missing'),
        ({f'{SOURCE}.pipeline.3.crop_size': 512}, r'pipeline\[3\].crop_size is 512; .* pair'),
        ({f'{SOURCE}.img_dir': None}, f'{SOURCE}.img_dir is None; it has to be text'),
        ({'data.val': None}, 'data.val is missing, which evaluation needs'),
        ({'evaluation.metric': 'IoU'}, "evaluation.metric is 'IoU'; .* 'mIoU'"),
        ({'model.test_cfg.mode': 'slide'}, "model.test_cfg.crop_size is missing, .*'slide'"),
        ({'speed.amp': 'fp8'}, "speed.amp is 'fp8'; it has to be one of 'bf16', 'fp16' or None"),
        ({'speed.compile': True}, "speed.compile is True; .* torch.compile such as 'inductor'"),
        ({'speed.compile': 'inducter'}, "speed.compile is 'inducter'; it has to be a backend"),
        ({'speed.accumulate': 3}, 'speed.accumulate=3 does not divide data.samples_per_gpu=2'),
        ({'optimizer.fused': 'yes'}, "optimizer.fused is 'yes'; it has to be True or False"),
        ({'uda': None}, 'uda and data.train.type=UDADataset go together'),
        ({'optimizer_config': {'_delete_': True}}, 'optimizer_config has to be None with uda'),
    ],
)
def test_what_cannot_be(overrides, says):
    with pytest.raises(UserError, match=says):
        check(overrides)


def test_supervised_training_needs_its_optimizer_step():
    check({}, SOURCE_ONLY_CONFIG)
    with pytest.raises(UserError, match='optimizer_config is missing'):
        check({'optimizer_config': None}, SOURCE_ONLY_CONFIG)


def test_scaled_losses_and_parts_leave_little_to_the_optimizers_hook():
    fp16 = {'speed.amp': 'fp16', 'optimizer_config.grad_clip': {'max_norm': 1.0}}
    check(fp16, SOURCE_ONLY_CONFIG)
    with pytest.raises(UserError, match='optimizer_config can have grad_clip alone'):
        check({**fp16, 'optimizer_config.type': 'Fp16OptimizerHook'}, SOURCE_ONLY_CONFIG)


@pytest.mark.parametrize(
    'overrides',
    [
        {'evaluation': None, 'data.val': None},
        {'speed': None},
        {'speed.amp': 'fp16', 'speed.compile': 'inductor', 'speed.accumulate': 2},
        {'optimizer.fused': True},
        {'checkpoint_config.interval': -1},
        {'model.test_cfg': {'mode': 'slide', 'crop_size': (512, 512), 'stride': (341, 341)}},
        {f'{SOURCE}.pipeline.2.img_scale': [(1280, 720), (1914, 1052)]},
        {'evaluation.metric': ['mIoU', 'mFscore']},
        {'uda.imnet_feature_dist_classes': None, 'uda.imnet_feature_dist_scale_min_ratio': None},
        {RCS: None},
        {'lr_config': {'_delete_': True, 'policy': 'CosineAnnealing', 'min_lr_ratio': 0.01}},
    ],
)
def test_what_can_be(overrides):
    check(overrides)


# What is built from values


def test_what_a_class_says_is_blamed_on_the_section():
    with (
        pytest.raises(UserError, match=r"config's model cannot be used: ValueError: too wide \(.*"),
        blamed_on('model'),
    ):
        raise ValueError('too\nwide')
    for ours in (NameError('x'), torch.OutOfMemoryError('full')):
        with pytest.raises(type(ours)), blamed_on('model'):
            raise ours


@pytest.fixture(scope='module')
def segmentor_config():
    model = load_config(str(UDA_CONFIG)).model
    auxiliary = {'type': 'FCNHead', 'in_channels': 160, 'in_index': 2, 'channels': 8}
    model.auxiliary_head = {**auxiliary, 'num_classes': 19, 'num_convs': 1}
    return model


def try_on_shapes(model):
    segmentor = build_segmentor(model)
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    _try_on_shapes(segmentor, (3, 64, 96), {})
    assert all(torch.equal(value, before[name]) for name, value in segmentor.state_dict().items())
    assert segmentor.training


def test_parts_of_a_network_that_fit(segmentor_config):
    try_on_shapes(segmentor_config)


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
def test_parts_of_a_network_that_do_not_fit(segmentor_config, head):
    model = copy.deepcopy(segmentor_config)
    model[head]['in_channels'] = 7 if head == 'auxiliary_head' else [32, 64, 160, 7]
    with pytest.raises(RuntimeError, match='channel'):
        try_on_shapes(model)


def test_a_network_that_looks_at_values_is_left_to_its_first_iteration(segmentor_config):
    class Looks(nn.Module):
        def forward(self, img):
            return img if img.sum() > 0 else -img

    segmentor = build_segmentor(segmentor_config)
    segmentor.encode_decode = lambda img, metas: Looks()(img)
    _try_on_shapes(segmentor, (3, 64, 96), {})
