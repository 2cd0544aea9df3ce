"""The dry run before iteration 0: what it finds, and that it changes nothing."""

import copy
import shutil
from types import SimpleNamespace

import pytest
import torch
from mmcv.parallel import DataContainer
from mmcv.utils import ConfigDict
from torch import nn

from mmseg.engine import train as train_module
from mmseg.engine.checks.errors import config_errors
from mmseg.engine.config import load_config
from mmseg.engine.dry_run import dry_run
from mmseg.engine.performance import build_grouped_optimizer
from mmseg.models import build_segmentor
from mmseg.models.uda.base import UDAMethod
from mmseg.utils.user_error import UserError
from tests.tiny_runs import (
    FEATURE_DISTANCE,
    SMALL,
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')

SAMPLE = dict(
    img=DataContainer(torch.zeros(3, 64, 96)),
    img_metas=DataContainer({}),
    gt_semantic_seg=DataContainer(torch.zeros(1, 64, 96, dtype=torch.int64)),
)
TEST_SAMPLE = dict(img=[torch.zeros(3, 128, 256)], img_metas=[DataContainer({})])
POOLING = dict(
    type='PSPHead', in_channels=256, in_index=3, channels=8, pool_scales=(1, 2), num_classes=19,
    norm_cfg=dict(type='BN'), align_corners=False,
)  # fmt: skip


@pytest.fixture
def cfg(tmp_path):
    """A small network with an auxiliary head."""
    cfg = load_config(str(UDA_CONFIG), {'work_dir': str(tmp_path), 'data.samples_per_gpu': 2})
    cfg.model.decode_head.channels = cfg.model.decode_head.decoder_params.embed_dims = 16
    auxiliary = {'type': 'FCNHead', 'in_channels': 160, 'in_index': 2, 'channels': 8}
    cfg.model.auxiliary_head = ConfigDict({**auxiliary, 'num_classes': 19, 'num_convs': 1})
    return cfg


def method_of(segmentor, cfg):
    with torch.random.fork_rng():
        method = UDAMethod(cfg.model)
    method.model = segmentor
    return method


def try_network(cfg, segmentor=None, sample=SAMPLE):
    segmentor = segmentor or build_segmentor(cfg.model)
    optimizer = build_grouped_optimizer(segmentor, cfg.optimizer)
    dry_run(cfg, method_of(segmentor, cfg), optimizer, sample, {'data.val': TEST_SAMPLE})


def test_nothing_is_changed(cfg):
    segmentor = build_segmentor(cfg.model)
    optimizer = build_grouped_optimizer(segmentor, cfg.optimizer)
    before = copy.deepcopy((segmentor.state_dict(), optimizer.state_dict(), cfg._cfg_dict))
    seen, random_state = [], torch.get_rng_state()
    segmentor.backbone.register_forward_hook(
        lambda module, inputs, _: seen.append((module.training, *inputs[0].shape))
    )
    dry_run(cfg, method_of(segmentor, cfg), optimizer, SAMPLE, {'data.val': TEST_SAMPLE})

    assert seen == [(True, 2, 3, 64, 96), (False, 1, 3, 128, 256)]
    for name, value in segmentor.state_dict().items():
        assert torch.equal(value, before[0][name]), name
    assert optimizer.state_dict() == before[1] and cfg._cfg_dict == before[2]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(part.training for part in segmentor.modules())
    assert all(weight.grad is None for weight in segmentor.parameters())
    assert not any(part._forward_pre_hooks for part in segmentor.modules())


@pytest.mark.long
def test_a_run_is_the_same_without_it(workplace, shared_run, monkeypatch):
    calls = []
    monkeypatch.setattr(train_module, 'dry_run', lambda *arguments: calls.append(arguments))
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert len(calls) == 1
    assert_same_training(TrainedRun(workplace), shared_run)


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
def test_parts_of_a_network_that_do_not_fit(cfg, head):
    cfg.model[head]['in_channels'] = 7 if head == 'auxiliary_head' else [32, 64, 160, 7]
    with pytest.raises(UserError, match=f"the config's model.{head} cannot be used: .*channel"):
        try_network(cfg)


def test_a_bare_assertion_is_said_by_its_line(cfg):
    cfg.model.decode_head.in_index = [0, 1, 2]
    says = r'model cannot be used: AssertionError: .*assert len\(in_channels\) == len\(in_index\)'
    with pytest.raises(UserError, match=says), config_errors('model'):
        build_segmentor(cfg.model)


def test_a_level_that_the_encoder_does_not_have(cfg):
    cfg.model.auxiliary_head.in_index = 4
    with pytest.raises(UserError, match=r'model.auxiliary_head cannot be used: IndexError'):
        try_network(cfg)


class Looks(nn.Module):
    def forward(self, img):
        return [img] * 4 if img.sum() > 0 else [-img] * 4


def test_a_network_that_looks_at_values_is_left_to_its_first_iteration(cfg):
    segmentor = build_segmentor(cfg.model)
    segmentor.backbone = Looks()
    try_network(cfg, segmentor)


class MakesTensors(nn.Module):
    """Makes a tensor without saying on which device, which does on a CPU."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, img):
        return self.inner(img + torch.arange(img.shape[-1]))


def test_a_network_that_makes_tensors(cfg):
    segmentor = build_segmentor(cfg.model)
    segmentor.backbone = MakesTensors(segmentor.backbone)
    try_network(cfg, segmentor)
    segmentor.auxiliary_head.in_index = 9  # it has been tried to the end
    with pytest.raises(UserError, match=r'model.auxiliary_head'):
        try_network(cfg, segmentor)


def test_what_fails_in_evaluation_alone(cfg):
    cfg.model.test_cfg = ConfigDict(mode='slide', crop_size=(48, 64), stride=(32, 32))
    segmentor = build_segmentor(cfg.model)
    try_network(cfg, segmentor)

    class ForOneSize(MakesTensors):
        def forward(self, img):
            assert img.shape[-2:] == (64, 96), f'images of 64×96, not {img.shape[-2]}'
            return self.inner(img)

    segmentor.backbone = ForOneSize(segmentor.backbone)
    with pytest.raises(UserError, match=r'model.test_cfg and data.val say, cannot .*64×96, not 48'):
        try_network(cfg, segmentor)


def test_an_optimizer_that_fails_at_its_first_step(cfg):
    cfg.optimizer = dict(type='LBFGS', lr=1.0)
    with pytest.raises(UserError, match=r"the config's optimizer cannot be used: .*closure"):
        try_network(cfg)


@pytest.mark.parametrize('options', [{'fused': True}, {'foreach': True}, {'amsgrad': True}])
def test_options_of_the_optimizer(cfg, options):
    cfg.optimizer.update(options)
    try_network(cfg)


# Classes


def test_class_weights_of_another_number(cfg):
    cfg.model.decode_head.loss_decode = ConfigDict(type='CrossEntropyLoss', class_weight=[1.0] * 18)
    with pytest.raises(UserError, match=r'model.decode_head cannot be used: .* length 18'):
        try_network(cfg)
    cfg.model.decode_head.loss_decode.class_weight = [1.0] * 19
    try_network(cfg)


# Batches of one


@pytest.mark.parametrize('given', [{'data.samples_per_gpu': 1}, {'speed.accumulate': 2}])
def test_a_pooling_head_and_batches_of_one(cfg, given):
    cfg.model.auxiliary_head = ConfigDict(POOLING)
    try_network(cfg)
    cfg.merge_from_dict(given)
    says = r'model\.auxiliary_head: BatchNorm .* raise data\.samples_per_gpu, or lower'
    with pytest.raises(UserError, match=says):
        try_network(cfg)
    # As it says.
    mended = copy.deepcopy(cfg)
    mended.merge_from_dict({'data.samples_per_gpu': 2 * cfg.speed.accumulate})
    try_network(mended)
    cfg.merge_from_dict({'model.auxiliary_head.norm_cfg': dict(type='GN', num_groups=4)})
    try_network(cfg)


class FrozenNorm(nn.BatchNorm2d):
    """Keeps its statistics in training, as with ``norm_eval``."""

    def train(self, mode=True):
        return super().train(False)


def test_batches_of_one_where_there_is_no_reason_to_refuse(cfg):
    cfg.data.samples_per_gpu = 1
    try_network(cfg)  # no pooling
    cfg.model.auxiliary_head = ConfigDict({**POOLING, 'norm_cfg': dict(type='SyncBN')})
    try_network(cfg)
    cfg.model.auxiliary_head.norm_cfg.type = 'BN'
    segmentor = build_segmentor(cfg.model)
    for part in segmentor.auxiliary_head.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.__class__ = FrozenNorm
    try_network(cfg, segmentor)


@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD'])
def test_room_for_a_checkpoint(cfg, monkeypatch, tmp_path, optimizer):
    cfg.optimizer = dict(type=optimizer, lr=0.1)
    segmentor = build_segmentor(cfg.model)
    trained = copy.deepcopy(segmentor)
    steps = build_grouped_optimizer(trained, cfg.optimizer)
    for weight in trained.parameters():
        weight.grad = torch.zeros_like(weight)
    steps.step()
    content = dict(state_dict=trained.state_dict(), optimizer=steps.state_dict())
    torch.save(content, tmp_path / 'checkpoint.pth')
    size = (tmp_path / 'checkpoint.pth').stat().st_size

    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=free, path=path))
    free = size
    try_network(cfg, segmentor)
    free = int(0.9 * size)
    with pytest.raises(UserError, match=f'{tmp_path} has .* GB of free space, and a checkpoint'):
        try_network(cfg, segmentor)


# Through the command


def test_a_start_that_failed_leaves_its_folder_free(workplace, capsys):
    from tools import train

    def start(*options):
        train.main(
            [str(SOURCE_ONLY_CONFIG), '--work-dir', 'run', '--cfg-options', *SMALL, *options]
        )

    weights = 'model.decode_head.loss_decode.class_weight='
    with pytest.raises(SystemExit, match=r'Error: .*model.decode_head cannot be used.* length 3 '):
        start('runner.max_iters=1', f'{weights}1,2,3')
    start('runner.max_iters=1')
    assert (workplace / 'run' / 'iter_1.pth').exists()
    with pytest.raises(SystemExit, match=r'holds a run with other settings .*: optimizer.lr: '):
        start('runner.max_iters=1', 'optimizer.lr=0.1')
    with pytest.raises(SystemExit, match=r'Error: .*model.decode_head cannot be used.* length 3 '):
        run_experiment(SOURCE_ONLY_CONFIG, f'{weights}1,2,3', arguments=['--work-dir', 'other'])
    run_experiment(SOURCE_ONLY_CONFIG, 'runner.max_iters=1', arguments=['--work-dir', 'other'])
    assert (workplace / 'other' / 'iter_1.pth').exists()
