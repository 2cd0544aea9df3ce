"""MiT-B0 to B5 under every decoder that goes with a MiT: the channels follow from the size."""

import pytest
import torch

from experiments import TARGET_ONLY
from mmseg.engine.config import load_config
from mmseg.models import build_backbone, build_head
from mmseg.models.builder import BACKBONES, build_neck
from tests.tiny_runs import CHECKOUT, resolve
from tools.launch import apply_overrides
from tools.run_config import ARCHITECTURES, ENCODERS, Run, run_config, with_bases_from

SIZES = range(6)
META = torch.device('meta')  # shapes alone: no memory, no arithmetic
ANNOTATED = CHECKOUT / 'configs/daformer/'
ANNOTATED /= 'gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
PAIRS = [
    (architecture, name)
    for architecture, parts in ARCHITECTURES.items()
    for name, encoder in ENCODERS.items()
    if encoder.family in parts.files and encoder.family in ('mit', 'mit-del')
    if 'adapt' not in encoder.backbone
]


def feature_maps(channels):
    """What a MiT makes of two images of 64×96."""
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    return [torch.empty(2, c, *size) for c, size in zip(channels, sizes, strict=True)]


def test_every_size_goes_with_every_decoder_for_mit():
    assert len(PAIRS) == 10 * len(SIZES)


@pytest.mark.parametrize(('architecture', 'encoder'), PAIRS)
def test_every_size_fits_every_decoder(architecture, encoder):
    run = Run('gta2cityscapes', architecture, encoder, TARGET_ONLY, 'poly10warm', seed=0)
    model = resolve(with_bases_from(run_config(run, experiment=0), '.')).model
    size = encoder.removesuffix('-del')[-1]
    assert model.backbone == {'type': f'mit_b{size}'}
    assert model.pretrained == f'pretrained/mit_b{size}.pth'
    with META:
        features = feature_maps(BACKBONES.get(model.backbone.type).out_channels)
        if model.get('neck'):
            features = build_neck(model.neck)(features)
        logits = build_head(model.decode_head).eval()(features)
    assert logits.shape[:2] == (2, 19)


@pytest.mark.parametrize('size', SIZES)
def test_channels_of_the_encoder(size):
    with META:
        encoder = build_backbone({'type': f'mit_b{size}'}).eval()
        features = encoder(torch.empty(2, 3, 64, 96))
        expected = feature_maps(encoder.out_channels)
    assert [f.shape for f in features] == [f.shape for f in expected]


@pytest.mark.parametrize('size', SIZES)
def test_a_size_is_one_option(size):
    model = load_config(str(ANNOTATED), {'model.backbone.type': f'mit_b{size}'}).model
    head = model.decode_head
    assert head.in_channels == ([32, 64, 160, 256] if size == 0 else [64, 128, 320, 512])


def small_deeplab(neck):
    """DeepLabV3+ on MiT-B0 with numbers of another encoder, as after another `backbone.type`."""
    file = CHECKOUT / 'configs/_base_/models/deeplabv3plus_r50-d8.py'
    options = {
        'model.backbone': {'_delete_': True, 'type': 'mit_b0'}, 'model.neck': neck, 'data': {},
    }  # fmt: skip
    stated = {'_base_': [str(file)], 'name': 'deeplab'}
    return resolve(apply_overrides(stated, options)).model.decode_head


def test_an_adapter_stacks_channels():
    head = small_deeplab({'type': 'SegFormerAdapter', 'out_layers': [2, 3], 'scales': [2, 4]})
    assert (head.in_channels, head.c1_in_channels) == (160 + 256, 32)
    assert small_deeplab({'type': 'SegFormerAdapter'}).in_channels == 256


def test_behind_another_neck_its_channels_count():
    neck = {'type': 'FPN', 'in_channels': [32, 64, 160, 256], 'out_channels': 48, 'num_outs': 4}
    head = small_deeplab(neck)
    assert (head.in_channels, head.c1_in_channels) == (48, 48)
