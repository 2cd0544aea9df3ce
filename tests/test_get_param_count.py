"""Parameters and operations, part by part, against formulas written out here."""

import pytest
import torch
from mmcv import Config
from torch.utils.flop_counter import FlopCounterMode

from mmseg.models import build_segmentor
from mmseg.models.encoder_channels import fill_in_channels
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, UDA_CONFIG, run_python
from tools import get_param_count
from tools.get_param_count import count_parts

DAFORMER = (
    CHECKOUT / 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
)
MODELS = sorted((CHECKOUT / 'configs/_base_/models').glob('*.py'))


def counted(*arguments):
    found = get_param_count.main([*map(str, arguments), '--no-memory'])
    return {part['part']: part for part in found}


@pytest.mark.parametrize(('size', 'millions'), [(0, '3.3'), (2, '24.2'), (5, '81.4')])
def test_sizes_of_the_encoder(size, millions):
    options = [f'model.backbone.type=mit_b{size}', 'model.decode_head.in_channels=from_encoder']
    parts = counted(DAFORMER, '--cfg-options', *options, 'uda=None')
    assert f'{parts["backbone"]["parameters"] / 1e6:.1f}' == millions


def test_operations_of_daformer_by_hand():
    height, width = 64, 96
    parts = counted(UDA_CONFIG, '--shape', height, width)
    dims, reductions, kernels, strides = (
        (32, 64, 160, 256),
        (8, 4, 2, 1),
        (7, 3, 3, 3),
        (4, 2, 2, 2),
    )
    n, before, embed = height * width, 3, 0
    for i, (c, r, k, s) in enumerate(zip(dims, reductions, kernels, strides, strict=True), 1):
        n //= s * s
        m = n // (r * r)  # tokens that give keys and values
        reduce = 2 * m * c * c * r * r if r > 1 else 0
        projections = 2 * n * c * c + 2 * m * c * 2 * c + 2 * n * c * c
        attention = 2 * (2 * n * m * c)  # query times key, weights times value
        mlp = 2 * (2 * n * c * 4 * c) + 2 * n * 4 * c * 9
        block = reduce + projections + attention + mlp
        assert parts[f'backbone.patch_embed{i}']['flops'] == 2 * n * c * before * k * k
        assert parts[f'backbone.block{i}']['flops'] == 2 * block
        embed += 2 * n * c * 64
        before = c
    assert parts['decode_head.embed_layers']['flops'] == embed
    n = height * width // 16
    separable = 2 * n * 256 * 9 + 2 * n * 256 * 64
    aspp = 2 * n * 256 * 64 + 3 * separable + 2 * n * 4 * 64 * 64 * 9
    assert parts['decode_head.fuse_layer']['flops'] == aspp
    assert parts['decode_head.conv_seg']['flops'] == 2 * n * 64 * 19


def segmentor(path):
    cfg = Config.fromfile(path).model
    if 'mit' in cfg.backbone.type:
        cfg.backbone.type, cfg.decode_head.in_channels = 'mit_b0', 'from_encoder'
    fill_in_channels(cfg)
    with torch.device('meta'):
        return build_segmentor(cfg).eval()


@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
def test_parts_add_up_to_the_whole(path):
    network = segmentor(path)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.encode_decode(torch.empty(1, 3, 64, 96, device='meta'), None)
    parts = count_parts(network, (64, 96))
    assert parts[-1]['part'] == 'all' and parts[-1]['flops'] == counter.get_total_flops() > 0
    outer = [part for part in parts if part['part'] in ('backbone', 'neck', 'decode_head')]
    for key in ('parameters', 'trained', 'flops'):
        assert sum(part[key] for part in outer) == parts[-1][key]
    assert parts[-1]['parameters'] == sum(p.numel() for p in network.parameters())


def test_encoders_that_compute_while_they_are_built(tmp_path):
    model = dict(
        type='EncoderDecoder', train_cfg=dict(), test_cfg=dict(mode='whole'),
        backbone=dict(
            type='SwinTransformer', embed_dims=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1),
        ),
        decode_head=dict(
            type='FCNHead', in_channels=96, channels=4, num_classes=19, align_corners=False,
        ),
    )  # fmt: skip
    parameters = sum(
        p.numel() for p in build_segmentor(Config(dict(model=model)).model).parameters()
    )
    Config(dict(model=model, data=dict())).dump(str(tmp_path / 'swin.py'))
    found = get_param_count.main([str(tmp_path / 'swin.py'), '--shape', '64', '64', '--no-memory'])
    assert found[-1]['parameters'] == parameters


def test_what_is_not_trained_is_told_apart():
    parts = counted(CHECKOUT / 'configs/street_scenes/source_only_mitb0.py', '--shape', 64, 64,
                       '--cfg-options', 'model.decode_head.type=SegFormerHead',
                       'model.decode_head.decoder_params._delete_=True',
                       'model.decode_head.decoder_params.embed_dims=8',
                       'model.decode_head.decoder_params.conv_kernel_size=1')  # fmt: skip
    unused, head = parts['decode_head.conv_seg'], parts['decode_head.linear_pred']
    assert (unused['trained'], unused['flops']) == (0, 0) and unused['parameters'] > 0
    assert head['trained'] == head['parameters'] == 8 * 19 + 19
    # The head fuses before it upsamples, and so does the fusion's products itself.
    layers = [part['flops'] for name, part in parts.items() if name.startswith('decode_head.')]
    fusion = parts['decode_head']['flops'] - sum(layers)
    assert fusion == 2 * 8 * 8 * (16**2 + 8**2 + 4**2 + 2**2)


def test_a_run_and_its_checkpoint(trained_run):
    found = [counted(path) for path in (trained_run.work_dir, trained_run.checkpoint)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['nowhere.py'], 'nowhere.py does not exist'),
        ([UDA_CONFIG, '--cfg-options', 'data.test.pipeline.1.img_scale=None'], 'give --shape H W'),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    with refused(says):
        counted(*arguments)


@pytest.mark.long
def test_as_a_command():
    result = run_python('tools/get_param_count.py', UDA_CONFIG, '--shape', 64, 64, cwd=CHECKOUT)
    assert result.returncode == 0 and result.stderr == ''
    assert '| all                      |  3,575,731 | 3,575,731 |' in result.stdout
