"""Learning rates as the paper states them: parameter groups, warmup, decay."""

import copy
import logging
import os.path as osp

import pytest
import torch
from torch import nn

from mmseg.core import build_optimizer
from mmseg.engine.config import load_config
from mmseg.engine.performance import build_grouped_optimizer
from mmseg.engine.runner import SeededRunner
from mmseg.models import build_segmentor

CONFIGS = osp.join(osp.dirname(__file__), '../configs')
ANNOTATED = 'daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'


class OneWeight(nn.Module):
    """Stands for a network: only its learning rate moves."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def train_step(self, data_batch, optimizer, step):
        raise AssertionError('nothing is trained here')


def rates(lr_config, max_iters, iterations, work_dir, lr=6e-5):
    """The learning rate of some iterations of a run."""
    model = OneWeight()
    runner = SeededRunner(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=lr),
        work_dir=str(work_dir),
        logger=logging.getLogger('test'),
        meta={},
        max_iters=max_iters,
        seed=0,
        device=torch.device('cpu'),
    )
    runner.register_lr_hook(dict(lr_config))
    runner.call_hook('before_run')
    found = {}
    for runner._iter in iterations:
        runner.call_hook('before_train_iter')
        found[runner.iter] = runner.current_lr()[0]
    return found


def test_warmup_and_linear_decay(tmp_path):
    lr_config = load_config(osp.join(CONFIGS, ANNOTATED)).lr_config
    found = rates(lr_config, 40000, [0, 750, 1500, 20000, 39999], tmp_path)
    assert found[0] == pytest.approx(6e-5 * 1e-6)
    assert found[750] == pytest.approx(6e-5 * (1 - 750 / 40000) * 0.5, rel=1e-3)
    assert found[1500] == pytest.approx(5.775e-5)
    assert found[20000] == pytest.approx(3e-5)
    assert found[39999] == pytest.approx(6e-5 / 40000)


def published_segmentor():
    """DAFormer with a small encoder, and the config of its optimizer."""
    cfg = load_config(osp.join(CONFIGS, ANNOTATED))
    model = cfg.model.copy()
    model.pretrained, model.backbone.type = None, 'mit_b0'
    model.decode_head.in_channels = [32, 64, 160, 256]
    return build_segmentor(model), cfg.optimizer


def test_the_head_is_faster_and_norms_do_not_decay():
    segmentor, cfg = published_segmentor()
    groups = build_grouped_optimizer(segmentor, cfg).param_groups
    assert len(groups) == 3
    found = {
        id(weight): (group['lr'], group['weight_decay'])
        for group in groups
        for weight in group['params']
    }
    named = {name: found[id(weight)] for name, weight in segmentor.named_parameters()}
    assert named['backbone.block1.0.attn.q.weight'] == pytest.approx((6e-5, 0.01))
    assert named['backbone.block1.0.attn.q.bias'] == pytest.approx((6e-5, 0.01))
    assert named['backbone.norm4.weight'] == pytest.approx((6e-5, 0.0))
    assert named['backbone.block1.0.norm1.bias'] == pytest.approx((6e-5, 0.0))
    assert named['backbone.patch_embed1.norm.weight'] == pytest.approx((6e-5, 0.0))
    assert named['decode_head.conv_seg.weight'] == pytest.approx((6e-4, 0.01))
    # The longest key decides alone: `head` applies to the decoder's BatchNorm, `norm` does not.
    assert named['decode_head.fuse_layer.bottleneck.bn.weight'] == pytest.approx((6e-4, 0.01))


@pytest.mark.parametrize('fused', [False, True])
def test_groups_change_no_step(fused):
    segmentor, cfg = published_segmentor()
    other = copy.deepcopy(segmentor)
    for network, build in ((segmentor, build_optimizer), (other, build_grouped_optimizer)):
        optimizer = build(network, {**cfg, 'fused': fused})
        for _ in range(2):
            for i, weight in enumerate(network.parameters()):
                weight.grad = torch.linspace(-1, i, weight.numel()).view_as(weight)
            optimizer.step()
    for name, weight in segmentor.named_parameters():
        assert torch.equal(weight, other.get_parameter(name)), name
