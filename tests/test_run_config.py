"""A run's configuration: what the names of networks and data sets mean once it is resolved."""

import dataclasses
import json
from pathlib import Path

import mmcv
import pytest

from experiments import FULL, TARGET_ONLY, generate_experiment_cfgs, mic
from tools.run_config import Run, run_config, with_bases_from

ROOT = Path(__file__).resolve().parents[1]
DAFORMER = Run('gta2cityscapes', 'daformer_sepaspp', 'mitb5', FULL, 'poly10warm', seed=0)


@pytest.fixture
def resolve(tmp_path):
    """Resolves the config of DAFormer's run with changes."""

    def resolve(**changes):
        file = tmp_path / 'run.json'
        config = run_config(dataclasses.replace(DAFORMER, **changes), experiment=6)
        file.write_text(json.dumps(with_bases_from(config, tmp_path)))
        return mmcv.Config.fromfile(str(file))

    return resolve


@pytest.mark.parametrize('architecture', ['da_nodbn', 'isa_nodbn', 'dlv3p_nodbn'])
def test_nodbn_means_no_norm_in_the_decoder(resolve, architecture):
    model = resolve(architecture=architecture, encoder='r101v1c').model
    assert model.decode_head.norm_cfg is None
    assert model.backbone.norm_cfg == dict(type='BN', requires_grad=True)
    assert model.decode_head.in_channels == 2048
    assert model.get('neck') is None


def test_adapter_brings_mit_to_a_cnn_decoder(resolve):
    model = resolve(architecture='sfa_dlv3p_nodbn', encoder='mitb5-del').model
    assert model.backbone == dict(type='mit_b5')  # nothing of the CNN is left
    assert model.pretrained == 'pretrained/mit_b5.pth'
    assert model.neck == dict(type='SegFormerAdapter', out_layers=[3], scales=[4])
    assert model.decode_head.in_channels == 512
    assert model.decode_head.c1_in_channels == 64
    assert model.decode_head.norm_cfg is None


OUTPUT_STRIDE_8 = dict(
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1),
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=False,
    style='pytorch',
    contract_dilation=True,
)
RESNEST = dict(type='ResNeSt', radix=2, reduction_factor=4, avg_down_stride=True)
RESNEXT = dict(type='ResNeXt', groups=32, base_width=4)
CNNS = {
    'r50v1c': ('resnet50_v1c', dict(type='ResNetV1c', depth=50)),
    'r101v1c': ('resnet101_v1c', dict(type='ResNetV1c', depth=101)),
    'x50-32': ('resnext50_32x4d', dict(RESNEXT, depth=50)),
    'x101-32': ('resnext101_32x4d', dict(RESNEXT, depth=101)),
    's50': ('resnest50', dict(RESNEST, depth=50, stem_channels=64)),
    's101': ('resnest101', dict(RESNEST, depth=101, stem_channels=128)),
    's200': ('resnest200', dict(RESNEST, depth=200, stem_channels=128)),
}


@pytest.mark.parametrize('encoder', CNNS)
def test_cnn_encoders(resolve, encoder):
    weights, backbone = CNNS[encoder]
    model = resolve(architecture='dlv2red', encoder=encoder).model
    assert model.pretrained == f'open-mmlab://{weights}'
    assert model.backbone == {**OUTPUT_STRIDE_8, **backbone}
    assert model.decode_head.dilations == (6, 12)


@pytest.mark.parametrize('size', [3, 4, 5])
def test_mit_encoders(resolve, size):
    model = resolve(architecture='segformer', encoder=f'mitb{size}').model
    assert model.backbone == dict(type=f'mit_b{size}')
    assert model.pretrained == f'pretrained/mit_b{size}.pth'
    assert model.decode_head.in_channels == [64, 128, 320, 512]


@pytest.mark.parametrize(
    ('pair', 'start_of_name', 'source_type', 'target_type'),
    [
        (('gta', 'cityscapes'), 'gta2cs_', 'GTADataset', 'CityscapesDataset'),
        (('synthia', 'cityscapes'), 'syn2cs_', 'SynthiaDataset', 'CityscapesDataset'),
        (('cityscapes', 'acdc'), 'cs2acdc_', 'CityscapesDataset', 'ACDCDataset'),
        (('cityscapes', 'darkzurich'), 'cs2dzur_', 'CityscapesDataset', 'DarkZurichDataset'),
    ],
)
def test_pairs_of_data_sets(resolve, pair, start_of_name, source_type, target_type):
    config = resolve(dataset='2'.join(pair))
    assert config.name.startswith(start_of_name)
    assert config.name_dataset == '2'.join(pair)
    assert config.data.train.source.type == source_type
    assert config.data.train.target.type == target_type
    assert config.data.val.type == target_type


def test_bases_are_relative_to_where_the_config_lies():
    config = generate_experiment_cfgs(7)[0]
    file = with_bases_from(config, ROOT / 'configs' / 'generated' / 'host-exp7')
    assert file['_base_'][0] == '../../_base_/default_runtime.py'
    assert config['_base_'][0] == '_base_/default_runtime.py'


def test_configs_do_not_share_what_a_caller_may_change():
    changed, *_ = generate_experiment_cfgs(2)
    changed['model']['neck']['scales'].append(8)
    changed['model']['decode_head']['in_channels'] = 0
    fresh, *_ = generate_experiment_cfgs(2)
    assert fresh['model']['neck']['scales'] == [4]
    assert fresh['model']['decode_head']['in_channels'] == 512


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'architecture': 'fcn'}, 'unknown architecture fcn; there are: dlv2red, .*daformer_se'),
        ({'encoder': 'vit'}, 'unknown encoder vit; there are: r50v1c, .*mitb5'),
        (
            {'dataset': 'acdc2cityscapes'},
            'data sets acdc2cityscapes; there are: gta2cityscapes, syn',
        ),
        ({'architecture': 'dlv2red'}, 'encoder for dlv2red: mitb5; there are: r50v1c'),
        ({'architecture': 'hrda1-512-0.1_daformer_aspp'}, 'for HRDA: daformer_aspp; .* dlv2red'),
        ({'architecture': 'hrda1-512-0.1-sc2_daformer_sepaspp'}, 'of HRDA sc2; .* fixedatt, '),
        ({'method': mic(FULL, 32, 0.7, 'all')}, 'unknown mask mode all; there are: spt, sps'),
    ],
)
def test_unknown_parts_list_those_that_exist(changes, message):
    with pytest.raises(ValueError, match=message):
        run_config(dataclasses.replace(DAFORMER, **changes), experiment=6)


def test_a_way_of_training_that_the_data_does_not_have():
    run = dataclasses.replace(DAFORMER, dataset='cityscapes2acdc', method=TARGET_ONLY)
    with pytest.raises(ValueError, match='target-only; there are: uda'):
        run_config(run, experiment=8)
