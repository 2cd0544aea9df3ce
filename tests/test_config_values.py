"""Values of a config: what cannot be is refused with its key, what can be is not."""

import importlib

import pytest
import torch
from mmcv.utils import Registry

from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.checks.errors import config_errors
from mmseg.engine.config import load_config, parse_options
from mmseg.utils.user_error import UserError
from tests.tiny_runs import CHECKOUT, SOURCE_ONLY_CONFIG

GTA_CONFIG = (
    CHECKOUT / 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
)
RCS, SOURCE = 'data.train.rare_class_sampling', 'data.train.source'


def check(overrides, path=GTA_CONFIG):
    cfg = load_config(str(path), overrides)
    check_keys(cfg, str(path))
    check_values(cfg, str(path))


@pytest.mark.parametrize(
    ('overrides', 'says'),
    [
        ({'runner.max_iters': 0}, 'runner.max_iters is 0; it has to be a whole number above 0'),
        ({'runner.max_iters': 4e4}, 'runner.max_iters is 40000.0; it has to be a whole number'),
        ({'data.samples_per_gpu': '2'}, "data.samples_per_gpu is '2'; it has to be a whole number"),
        ({'data.workers_per_gpu': -1}, 'data.workers_per_gpu is -1; it has to be a whole number'),
        ({'data.test_dataloader.samples_per_gpu': 0}, 'loader.samples_per_gpu is 0; it has to be'),
        ({'data.val_dataloader': 4}, 'data.val_dataloader is 4; it has to be a dict'),
        ({'optimizer.lr': None}, 'optimizer.lr is None; it has to be a number above 0'),
        ({'optimizer.lr': float('nan')}, 'optimizer.lr is nan; it has to be a number above 0'),
        ({'lr_config.by_epoch': True}, 'lr_config.by_epoch is True; it has to be False'),
        ({'lr_config.warmup': 'cosine'}, 'config\'s lr_config cannot be used: .*"cosine" is not'),
        ({'uda.alpha': 1.5}, 'uda.alpha is 1.5; it has to be a number from 0 to 1'),
        ({'uda.blur': 'no'}, "uda.blur is 'no'; it has to be True or False"),
        ({'uda.imnet_feature_dist_classes': [6, 19]}, r'\[19\], but the last train id is 18'),
        ({'uda.imnet_feature_dist_scale_min_ratio': None}, 'classes needs uda.imnet_.*min_ratio'),
        ({f'{RCS}.class_temp': 0}, f'{RCS}.class_temp is 0; it has to be a number above 0'),
        ({RCS: {'_delete_': True, 'min_pixels': 5}}, f'{RCS}.class_temp is missing'),
        ({f'{SOURCE}.pipeline.3.crop_size': (0, 9)}, f'{SOURCE}.pipeline cannot be used: Assert'),
        ({f'{SOURCE}.ignore_index': 200}, f'{SOURCE}.ignore_index is 200, but a .* ignores 255'),
        ({'data.val': None}, 'data.val is missing, which evaluation needs'),
        ({'evaluation.metric': 'IoU'}, "evaluation.metric is 'IoU'; .* 'mIoU'"),
        ({'model.test_cfg.mode': 'slide'}, "model.test_cfg: mode='slide' needs crop_size"),
        ({'speed.amp': 'fp8'}, "speed.amp is 'fp8'; it has to be one of 'bf16', 'fp16' or None"),
        ({'speed.compile': True}, "speed.compile is True; .* torch.compile such as 'inductor'"),
        ({'speed.compile': 'inducter'}, "speed.compile is 'inducter'; it has to be a backend"),
        ({'speed.accumulate': 3}, 'speed.accumulate=3 does not divide data.samples_per_gpu=2'),
        ({'uda': None}, 'uda and data.train.type=UDADataset go together'),
        ({'optimizer_config': {'detect_anomalous_params': True}}, 'params: nothing reads this'),
        ({'optimizer_config': {'grad_clip': 5}}, 'optimizer_config.grad_clip is 5; .* a dict'),
        ({'optimizer_config': {'grad_clip': {}}}, 'optimizer_config.grad_clip.max_norm is missing'),
        ({'optimizer_config': {'grad_clip': {'max_norm': 0}}}, 'max_norm is 0; .* above 0'),
        (
            {'model.test_cfg': {'mode': 'slide', 'crop_size': (512, 512), 'stride': (341, 768)}},
            r'stride=\(341, 768\) leaves gaps: crop_size=\(512, 512\) is smaller',
        ),
        (
            {'model.test_cfg': {'mode': 'slide', 'crop_size': (512, 512), 'stride': (0, 0)}},
            'model.test_cfg.stride is .*; it has to be a pair of whole numbers above 0',
        ),
    ],
)
def test_what_cannot_be(overrides, says):
    with pytest.raises(UserError, match=says):
        check(overrides)


def test_an_optimizer_config_may_be_missing():
    check({'optimizer_config': None}, SOURCE_ONLY_CONFIG)


def test_scaled_losses_and_parts_leave_little_to_the_optimizers_hook():
    fp16 = {'speed.amp': 'fp16', 'optimizer_config.grad_clip': {'max_norm': 1.0}}
    check(fp16, SOURCE_ONLY_CONFIG)
    with pytest.raises(UserError, match=r'optimizer_config.type is .*OptimizerHook'):
        check({**fp16, 'optimizer_config.type': 'Fp16OptimizerHook'}, SOURCE_ONLY_CONFIG)


@pytest.mark.parametrize(
    'overrides',
    [
        {'evaluation': None, 'data.val': None},
        {'optimizer_config': {'grad_clip': {'max_norm': 1.0, 'norm_type': 2}}},
        {'optimizer_config': {}},
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
        config_errors('model'),
    ):
        raise ValueError('too\nwide')
    for ours in (NameError('x'), torch.OutOfMemoryError('full')):
        with pytest.raises(type(ours)), config_errors('model'):
            raise ours


class Head(torch.nn.Module):
    """A new head with a bug, or one that is given a value of a wrong kind."""

    def __init__(self, bug, norm_cfg=None):
        super().__init__()
        self.channels = 8
        bug(self, norm_cfg)


BUGS = {
    AttributeError: lambda head, _: head.chanels,
    ImportError: lambda *_: importlib.import_module('no_such_module'),
    NameError: lambda *_: chanels,  # noqa: F821
    RecursionError: lambda head, _: repr_of(head),
}


def repr_of(head):
    return repr_of(head)


@pytest.mark.parametrize('bug', BUGS)
def test_bugs_in_a_class_keep_their_traceback(bug):
    """Also where mmcv's registry raises once more."""
    registry = Registry('heads')
    registry.register_module(module=Head)
    with pytest.raises(bug) as found, config_errors('model'):
        registry.build(dict(type='Head', bug=BUGS[bug]))
    assert found.value.__notes__ == ["while the config's model was built"]


def test_values_of_a_wrong_kind_are_the_configs():
    def uses(_, norm_cfg):
        return norm_cfg.copy()

    says = r"cannot be used: AttributeError: Head: 'str' .* 'copy' \(\S+test_config_values.py, line"
    registry = Registry('heads')
    registry.register_module(module=Head)
    with pytest.raises(UserError, match=says), config_errors('model'):
        registry.build(dict(type='Head', bug=uses, norm_cfg='BN'))


def test_what_torch_refuses_is_said_by_the_line_that_called_it():
    says = r'\(\S+test_config_values.py, line \d+; DAFORMER_TRACEBACK=1'
    with pytest.raises(UserError, match=says), config_errors('model'):
        torch.nn.Linear(3, 4)(torch.zeros(2, 5))


@pytest.mark.parametrize('option', ['a={x:[1,2]}', 'a=(1,', 'a=[1,(2,3]'])
def test_options_that_cannot_be_parsed(option):
    with pytest.raises(UserError, match='write it as KEY=VALUE'):
        parse_options([option])
