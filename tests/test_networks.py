"""Every network equals the golden arrays of the published implementation, and is well-behaved."""

import json
import math
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mmseg  # noqa: F401  (registers the networks)
from mmseg.models import build_backbone, build_head, build_segmentor
from mmseg.models.builder import build_neck
from mmseg.models.memory import is_channels_last
from tests.golden.fill import array_for, fill

GOLDEN = Path(__file__).parent / 'golden'
MODELS = Path(__file__).parents[1] / 'configs' / '_base_' / 'models'

# Name of the golden arrays: name of the config.
MIT_B0 = {
    'daformer_conv1_mitb0': 'daformer_conv1_mitb5',
    'daformer_sepaspp_mitb0': 'daformer_sepaspp_mitb5',
    'daformer_aspp_mitb0': 'daformer_aspp_mitb5',
    'daformer_isa_mitb0': 'daformer_isa_mitb5',
    'daformer_sepaspp_bottleneck_mitb0': 'daformer_sepaspp_bottleneck_mitb5',
    'segformer_mitb0': 'segformer_b5',
    'upernet_ch256_mitb0': 'upernet_ch256_mit',
}
CNN = [
    'deeplabv2_r50-d8',
    'deeplabv2red_r50-d8',
    'deeplabv3plus_r50-d8',
    'danet_r50-d8',
    'isanet_r50-d8',
    'segformer_r101',
]
ALL = [*MIT_B0, 'daformer_sepaspp_mitb5', *CNN]


def network(name):
    """The network of a golden array. Building it needs none of the weight files it names."""
    cfg = mmcv.Config.fromfile(MODELS / f'{MIT_B0.get(name, name)}.py').model
    if name in MIT_B0:
        cfg.backbone.type = 'mit_b0'
        cfg.decode_head.in_channels = [32, 64, 160, 256]
    return build_segmentor(cfg)


def image(name):
    size = (64, 96) if name in MIT_B0 else (65, 97) if name in CNN else (64, 64)
    return torch.from_numpy(array_for('img', (1, 3, *size)))


def daformer_head(**decoder_params):
    """A small DAFormerHead on two levels; the arguments replace its options."""
    options = {
        'embed_dims': 8,
        'embed_cfg': {'type': 'mlp'},
        'embed_neck_cfg': 'same_as_embed_cfg',
        'fusion_cfg': {'type': 'conv', 'kernel_size': 1},
    }
    cfg = {'type': 'DAFormerHead', 'in_channels': [4, 6], 'in_index': [0, 1], 'channels': 8}
    options = {k: v for k, v in {**options, **decoder_params}.items() if v is not None}
    return build_head({**cfg, 'num_classes': 19, 'decoder_params': options})


TWO_LEVELS = [torch.ones(2, 4, 16, 24), torch.ones(2, 6, 8, 12)]


@pytest.mark.parametrize('name', ALL)
def test_equals_golden_arrays(name):
    golden = np.load(GOLDEN / f'{name}.npz')
    model = fill(network(name)).eval()
    with torch.no_grad():
        features = model.backbone(image(name))
        logits = model.decode_head(model.neck(features) if model.with_neck else features)
    ours = {f'feature{i}': feature for i, feature in enumerate(features)}
    ours['logits'] = logits[0] if isinstance(logits, tuple) else logits
    assert set(golden) <= set(ours)
    for key, expected in golden.items():
        assert ours[key].is_contiguous(), f'{key} is not a contiguous NCHW map'
        assert ours[key].shape == expected.shape
        difference = np.abs(ours[key].numpy() - expected).max()
        assert difference <= 1e-5 * np.abs(expected).max(), key


class FormatChanges(TorchDispatchMode):
    """Records the copies that bring a map into another memory format."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        is_copy = func.overloadpacket in (torch.ops.aten.clone, torch.ops.aten._to_copy)
        if is_copy and out.dim() == 4 and is_channels_last(out) != is_channels_last(args[0]):
            self.found.append(tuple(out.shape))
        return out


@pytest.mark.parametrize('backbone', ['mit_b0', 'mambaout_femto'])
def test_channels_last_copies_no_map_into_another_format(backbone):
    model = network('daformer_sepaspp_mitb0')
    if backbone == 'mambaout_femto':  # gives its maps as (N, H, W, C)
        backbone = {'type': 'TimmEncoder', 'model_name': backbone}
        model.backbone = build_backbone(backbone)
        cfg = mmcv.Config.fromfile(MODELS / 'daformer_sepaspp_mitb5.py').model.decode_head
        model.decode_head = build_head({**cfg, 'in_channels': model.backbone.out_channels})
    fill(model).eval()
    img = torch.from_numpy(array_for('img', (2, 3, 64, 96)))
    with torch.no_grad():
        expected = model.decode_head(model.backbone(img))
        model.to(memory_format=torch.channels_last)
        img = img.contiguous(memory_format=torch.channels_last)
        with FormatChanges() as changes:
            features = model.backbone(img)
            logits = model.decode_head(features)
    assert all(is_channels_last(feature) for feature in [*features, logits])
    assert changes.found == []
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def names_and_shapes(model, prefix=''):
    state = model.state_dict().items()
    return {name: list(value.shape) for name, value in state if name.startswith(prefix)}


def test_state_dict_of_the_whole_network():
    golden = json.loads((GOLDEN / 'daformer_sepaspp_mitb5_keys.json').read_text())
    with torch.device('meta'):
        assert names_and_shapes(network('daformer_sepaspp_mitb5')) == golden


@pytest.mark.parametrize(
    'name, golden', json.loads((GOLDEN / 'decode_head_keys.json').read_text()).items()
)
def test_state_dict_of_the_decode_head(name, golden):
    name = {'deeplabv2red': 'deeplabv2red_r50-d8'}.get(name, name)
    with torch.device('meta'):
        assert names_and_shapes(network(name), 'decode_head.') == golden


@pytest.mark.parametrize(
    'name, millions',
    [('b0', 3.3), ('b1', 13.2), ('b2', 24.2), ('b3', 44.1), ('b4', 60.8), ('b5', 81.4)],
)
def test_encoder_size(name, millions):
    with torch.device('meta'):
        encoder = build_backbone({'type': f'mit_{name}'})
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 1) == millions


def test_drop_path_rate_rises_linearly():
    encoder = build_backbone({'type': 'mit_b2', 'drop_path_rate': 0.3})
    blocks = [block for stage in range(1, 5) for block in getattr(encoder, f'block{stage}')]
    rates = [block.drop_path.drop_prob for block in blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.3, 16))
    assert build_backbone({'type': 'mit_b0'}).block4[-1].drop_path.drop_prob == 0.1


def test_drop_path_drops_whole_residuals_in_training_only():
    encoder = fill(build_backbone({'type': 'mit_b0', 'drop_path_rate': 1 - 1e-9}))
    tokens = torch.ones(3, 6, 256)
    assert torch.equal(encoder.train().block4[-1](tokens, (2, 3)), tokens)
    assert not torch.equal(encoder.eval().block4[-1](tokens, (2, 3)), tokens)


@pytest.mark.parametrize('name', [*MIT_B0, *CNN])
def test_gradient_reaches_every_trainable_parameter(name):
    model = fill(network(name)).train()
    img = torch.from_numpy(array_for('img', (2, 3, 32, 40)))
    label = torch.arange(img[:, :1].numel()).reshape(2, 1, 32, 40) % 19
    losses = model.forward_train(img, None, label)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert name.startswith('segformer') and 'conv_seg' in parameter_name
        else:
            assert parameter.grad is not None, f'{parameter_name} has no gradient'
            assert torch.isfinite(parameter.grad).all(), parameter_name


def test_initialisation_of_the_encoder():
    torch.manual_seed(0)
    encoder = build_backbone({'type': 'mit_b1'})
    encoder.init_weights()
    for name, module in encoder.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert torch.all(module.weight == 1) and torch.all(module.bias == 0), name
        elif isinstance(module, nn.Linear | nn.Conv2d):
            std = 0.02
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels / module.groups
                std = math.sqrt(2 / fan_out)
            error = 4 / math.sqrt(2 * module.weight.numel())  # four standard deviations
            assert module.weight.std().item() == pytest.approx(std, rel=error), name
            assert torch.all(module.bias == 0), name


def test_initialisation_of_the_decode_heads():
    torch.manual_seed(0)
    model = network('daformer_sepaspp_mitb0')
    model.decode_head.init_weights()
    head = model.decode_head
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert torch.all(head.conv_seg.bias == 0)
    bottleneck = head.fuse_layer.bottleneck.conv.weight.std().item()
    assert bottleneck == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.01)
    # PyTorch's default is uniform between plus and minus 1 / sqrt(in_channels).
    proj = head.embed_layers['3'].proj.weight
    assert proj.abs().max().item() == pytest.approx(1 / 16, rel=0.01)

    head = network('deeplabv2red_r50-d8').decode_head
    head.init_weights()
    for branch in head.aspp_modules:
        assert branch.conv.weight.std().item() == pytest.approx(0.01, rel=0.01)
        assert torch.all(branch.conv.bias == 0)


ASPP = {'sep': True, 'dilations': (1, 2), 'pool': True, 'act_cfg': {'type': 'ReLU'}}


@pytest.mark.parametrize(
    'options',
    [
        {'embed_cfg': {'type': 'id'}, 'embed_dims': [4, 6]},
        {'embed_cfg': {'type': 'sep_conv', 'kernel_size': 3, 'norm_cfg': {'type': 'BN'}}},
        {'embed_cfg': {'type': 'conv', 'kernel_size': 3}, 'embed_neck_cfg': {'type': 'mlp'}},
        {'fusion_cfg': {'type': 'isa', 'isa_channels': 4, 'down_factor': (5, 7)}},
        {'fusion_cfg': {'type': 'aspp', **ASPP}},
        {'fusion_cfg': {'type': 'rawconv_and_aspp', 'kernel_size': 3, **ASPP}},
        # Keys of published configs that mean nothing.
        {'embed_cfg': {'type': 'mlp', 'act_cfg': None, 'norm_cfg': None}},
        {'fusion_cfg': {'type': 'conv', 'kernel_size': 1, 'fusion': 'cat'}},
    ],
)
def test_decoder_layers(options):
    logits = daformer_head(**options)(TWO_LEVELS)
    assert logits.shape == (2, 19, 16, 24) and logits.is_contiguous()


def test_aspp_branches_are_pool_and_dilations_in_this_order():
    aspp = daformer_head(fusion_cfg={'type': 'aspp', **ASPP, 'act_cfg': None}).fuse_layer
    seen = []
    aspp.bottleneck.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    feature = torch.randn(1, 16, 5, 7)
    aspp(feature)
    pool, first, second = seen[0].split(8, dim=1)
    torch.testing.assert_close(pool, aspp.image_pool(feature).expand(-1, -1, 5, 7))
    torch.testing.assert_close([first, second], aspp.aspp_modules(feature))


def test_isa_layer_equals_mmsegmentations_head_where_cells_are_padded():
    cfg = {'type': 'isa', 'isa_channels': 4, 'down_factor': (8, 5), 'key_query_num_convs': 2}
    layer = fill(daformer_head(fusion_cfg=cfg).fuse_layer)
    head = build_head(
        {
            'type': 'ISAHead',
            'in_channels': 16,
            'channels': 8,
            'isa_channels': 4,
            'down_factor': (8, 5),
            'dropout_ratio': 0,
            'num_classes': 19,
        }
    )
    head.in_conv, head.conv_seg = layer.in_conv, nn.Identity()
    head.global_relation.load_state_dict(layer.global_relation.state_dict())
    head.local_relation.load_state_dict(layer.local_relation.state_dict())
    head.out_conv = nn.Identity()  # the head's attention, and its residual
    feature = torch.randn(2, 16, 13, 19)
    attention, _ = head([feature]).split(8, dim=1)
    torch.testing.assert_close(layer(feature), attention)


def test_levels_can_have_channels_of_their_own():
    head = daformer_head(embed_dims=[8, 10])
    assert head.embed_layers['1'].proj.out_features == 10
    assert head.fuse_layer.in_channels == 18


def test_older_names_in_published_configs_still_build():
    cfg = mmcv.Config.fromfile(MODELS / 'daformer_conv1_mitb5.py').model
    cfg.backbone.update(type='mit_b0', style='pytorch', ema_drop_path_rate=0.1)
    cfg.decode_head.type = 'UniHead'
    build_segmentor(cfg)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'embed_cfg': {'type': 'nlp'}}, "'nlp'; there are aspp, conv, id, isa, mlp, raw"),
        ({'embed_cfg': {'type': 'mlp', 'bias': True}}, "unexpected keyword argument 'bias'"),
        ({'fusion_cfg': {'type': 'conv', 'size': 1}}, "unexpected keyword argument 'size'"),
        ({'fusion_cfg': {'type': 'conv'}}, "missing .* 'kernel_size'"),
        ({'embed_cfg': {'type': 'id'}}, "'id': its embed_dims must be its channels, 4"),
        ({'neck_cfg': {'type': 'mlp'}}, "unexpected keyword argument 'neck_cfg'"),
        ({'fusion_cfg': None}, "missing .* 'fusion_cfg'"),
        ({'embed_dims': [8]}, 'shorter'),
    ],
)
def test_wrong_decoder_params_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        daformer_head(**options)


@pytest.mark.parametrize('name', ['daformer_conv1_mitb5', 'segformer_b5'])
def test_align_corners_is_refused(name):
    cfg = mmcv.Config.fromfile(MODELS / f'{name}.py').model.decode_head
    with pytest.raises(ValueError, match='needs align_corners=False'):
        build_head({**cfg, 'align_corners': True})


def test_segformer_head_refuses_unknown_decoder_params():
    cfg = mmcv.Config.fromfile(MODELS / 'segformer_b5.py').model.decode_head
    with pytest.raises(TypeError, match="unexpected keyword argument 'embed_dim'"):
        build_head({**cfg, 'decoder_params': {'embed_dim': 768}})


def test_adapter_replaces_the_last_map_by_upsampled_ones():
    features = [torch.rand(1, c, s, s) for c, s in [(2, 16), (3, 8), (4, 4), (5, 2)]]
    adapter = build_neck({'type': 'SegFormerAdapter', 'out_layers': [2, 3], 'scales': [2, 4]})
    adapted = adapter(features)
    assert [tuple(f.shape[1:]) for f in adapted] == [(2, 16, 16), (3, 8, 8), (4, 4, 4), (9, 8, 8)]
    assert all(a is b for a, b in zip(adapted[:3], features[:3], strict=True))
    assert features[3].shape == (1, 5, 2, 2)
    default = build_neck({'type': 'SegFormerAdapter'})(features)
    torch.testing.assert_close(default[3], adapted[3][:, 4:])
