"""Experiments and configs of foundation encoders: what their names mean, and that they agree."""

import json
from pathlib import Path

import mmcv
import pytest

from experiments import generate_experiment_cfgs
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.config import as_dict, load_config
from run_experiments import small_scale
from tests.test_configs import CONFIGS, plain, step
from tests.tiny_runs import resolve
from tools.run_config import with_bases_from
from tools.training_memory import step_memory

ANNOTATED = sorted(path.stem for path in CONFIGS.glob('vfm/*.py'))
ENCODERS = (
    *('mitb5', 'dinov2-b', 'dinov2-l', 'dinov3-b', 'dinov3-l', 'dinov3-convnext-b', 'eva02-l'),
)
TOKENS = dict(type='token', mask_ratio=0.7)
BLOCKS = dict(type='block', mask_ratio=0.7, mask_block_size=58.5)


@pytest.fixture(scope='module')
def resolved(tmp_path_factory):
    """Every configuration of seed 0, resolved: a list for each experiment."""
    folder = tmp_path_factory.mktemp('generated')
    configs = {}
    for experiment in (200, 201, 202):
        stated = [c for c in generate_experiment_cfgs(experiment) if c['seed'] == 0]
        configs[experiment] = []
        for number, config in enumerate(stated):
            file = folder / f'{experiment}_{number}.json'
            file.write_text(json.dumps(with_bases_from(config, folder)))
            configs[experiment].append(mmcv.Config.fromfile(str(file)))
    return configs


def test_runs_have_names_of_their_own():
    for experiment, number in ((200, 21), (201, 7), (202, 3)):
        names = [config['name'] for config in generate_experiment_cfgs(experiment)]
        assert len(set(names)) == len(names) == 3 * number


def test_encoders_and_ways_of_training(resolved):
    found = [(c.name_encoder, c.uda.get('source_only', False)) for c in resolved[200]]
    expected = []
    for name in ENCODERS:
        expected += [(f'{name}-lora', True), (name, False), (f'{name}-lora', False)]
    assert found == expected
    for config in resolved[200]:
        backbone, name = config.model.backbone, config.name_encoder.removesuffix('-lora')
        is_adapted = config.name_encoder.endswith('-lora')
        lora = dict(type='LoRA', r=32, dropout=0.1)
        if name == 'dinov3-convnext-b':
            lora['targets'] = ['fc1', 'fc2']
        assert backbone.get('adapt') == (lora if is_adapted else None)
        is_plain = backbone.type == 'TimmViT'
        assert is_plain == (name not in ('mitb5', 'dinov3-convnext-b'))
        assert config.model.decode_head.type == ('VFMHead' if is_plain else 'DAFormerHead')
        assert backbone.get('inside_scale') == (1.1 if '14' in config.model.pretrained else None)
        assert backbone.get('positions') == ('meta' if 'dinov2' in name else None)
        if config.uda.get('source_only'):
            assert 'mask_mode' not in config.uda and 'mask_token' not in backbone
        else:
            assert config.uda.mask_generator == (TOKENS if is_plain else BLOCKS)
            assert ('mask_token' in backbone) == is_plain


def test_necks_and_heads(resolved):
    found = [(c.model.get('neck', {}).get('type'), c.model.decode_head.type) for c in resolved[201]]
    assert found == [
        (None, 'VFMHead'),
        ('Feature2Pyramid', 'VFMPyramidHead'), ('BilinearPyramid', 'VFMPyramidHead'),
        (None, 'VFMSegHead'),
        (None, 'DAFormerHead'),
        ('Feature2Pyramid', 'DAFormerHead'), ('BilinearPyramid', 'DAFormerHead'),
    ]  # fmt: skip
    for config in resolved[201]:
        is_published_without = config.model.decode_head.type in ('VFMPyramidHead', 'VFMSegHead')
        assert config.model.backbone.get('norm', True) == (not is_published_without)


def test_masks(resolved):
    found = [config.uda.get('mask_generator') for config in resolved[202]]
    assert found == [None, TOKENS, BLOCKS]
    assert ['mask_token' in c.model.backbone for c in resolved[202]] == [False, True, False]


def test_what_all_runs_have(resolved):
    for config in (config for configs in resolved.values() for config in configs):
        assert config.data.samples_per_gpu == 8
        assert (config.speed.accumulate, config.speed.amp) == (4, 'bf16')
        optimizer = config.optimizer
        assert optimizer.lr == pytest.approx(5e-5 * 8**0.5)
        assert (optimizer.type, optimizer.weight_decay) == ('AdamW', 0.01)
        if not config.name_encoder.startswith('mitb5'):
            assert optimizer.constructor == 'LayerDecay'
            assert optimizer.paramwise_cfg == dict(encoder_lr_mult=0.1, layer_decay=1.0)
        assert config.lr_config.policy == 'FullRateWarmup'
        assert config.data.train.rare_class_sampling == dict(
            min_pixels=3000, class_temp=0.05, min_crop_ratio=2.0, crop_tries=20
        )
        assert config.data.train.target.crop_pseudo_margins == [0.03, 0.25, 0.03, 0.03]
        assert config.model.decode_head.loss_decode == dict(type='VFMCrossEntropyLoss')
        windows = dict(mode='slide', stride=[512, 512], crop_size=[1024, 1024])
        assert config.model.test_cfg == windows
        uda = config.uda
        assert (uda.alpha, uda.pseudo_threshold, uda.flip_pseudo_labels) == (0.999, 0.968, True)
        mean = step(config.data.train.source.pipeline, 'Normalize')['mean']
        assert mean == step(config.data.train.target.pipeline, 'Normalize')['mean']
        of_test = step(config.data.test.pipeline, 'MultiScaleFlipAug')['transforms']
        assert mean == step(of_test, 'Normalize')['mean']
        assert (mean[0] < 123) == config.name_encoder.startswith('eva02')


def test_mit_has_the_rates_of_a_vit(resolved):
    adapted, whole, _ = resolved[200][:3]
    assert whole.optimizer.paramwise_cfg == dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
    assert adapted.optimizer.paramwise_cfg is None
    for config in (adapted, whole):
        assert config.optimizer.constructor == 'DefaultOptimizerConstructor'


@pytest.mark.parametrize('name', ['', '_clip'])
def test_data(name):
    train = mmcv.Config.fromfile(
        str(CONFIGS / f'_base_/datasets/uda_gta_to_cityscapes_vfm{name}_1024x1024.py')
    ).data.train
    for data, side in ((train.source, 1440), (train.target, 1024)):
        resize = step(data.pipeline, 'Resize')
        assert resize == dict(img_scale=(100000, side), ratio_range=(0.9, 1.1))
        assert step(data.pipeline, 'RandomCrop')['crop_size'] == (1024, 1024)
        order = [transform['type'] for transform in data.pipeline]
        assert order.index('Pad') == order.index('Normalize') - 1
    assert 'LoadAnnotations' not in [transform['type'] for transform in train.target.pipeline]


# file → experiment and part of the name of its run
OF_EXPERIMENTS = {
    'gta2cs_vfm_uda_dinov2-b': (202, 'mtoken-07-spta_vfm_dinov2-b'),
    'gta2cs_vfm_uda_dinov2-l': (200, 'mtoken-07-spta_vfm_dinov2-l_'),
    'gta2cs_vfm_uda_dinov3-b': (200, 'mtoken-07-spta_vfm_dinov3-b_'),
    'gta2cs_vfm_uda_dinov3-l': (200, 'mtoken-07-spta_vfm_dinov3-l_'),
    'gta2cs_vfm_uda_dinov3-convnext-b': (200, 'spta_daformer_vfm_dinov3-convnext-b_'),
    'gta2cs_vfm_uda_lora_dinov2-l': (200, 'mtoken-07-spta_vfm_dinov2-l-lora'),
}


@pytest.mark.parametrize('name', OF_EXPERIMENTS)
def test_annotated_configs_are_those_of_the_experiments(name, tmp_path):
    experiment, part = OF_EXPERIMENTS[name]
    (generated,) = (
        c for c in generate_experiment_cfgs(experiment) if part in c['name'] and c['seed'] == 0
    )
    file = tmp_path / 'generated.json'
    file.write_text(json.dumps(with_bases_from(generated, tmp_path)))
    annotated, generated = plain(f'vfm/{name}.py'), plain(file)
    differing = {
        key for key in {*annotated, *generated} if annotated.get(key) != generated.get(key)
    }
    assert differing == {'name', 'exp'}


def test_the_successor_of_vfm_uda():
    plain_uda, successor = (
        plain(f'vfm/gta2cs_vfm_uda_{name}.py') for name in ('dinov2-b', 'pp_dinov2-l')
    )
    assert successor['data'] == plain_uda['data']
    assert successor['optimizer']['lr'] == pytest.approx(1e-5 * 8**0.5)
    assert successor['optimizer']['paramwise_cfg'] == dict(encoder_lr_mult=0.1, layer_decay=0.9)
    assert successor['uda']['mask_generator'] == BLOCKS
    assert successor['uda']['augmentations']['source']['blur_sigma'] == [0.15, 3.0]
    for images in ('target', 'mix'):
        augmentations = (c['uda']['augmentations'][images] for c in (successor, plain_uda))
        assert len({json.dumps(each) for each in augmentations}) == 1
    teacher = successor['uda']['feature_distance']['teacher']
    assert 1024 * teacher['inside_scale'] == 406
    assert set(successor['uda']) - set(plain_uda['uda']) == {'feature_distance'}


@pytest.mark.parametrize('name', ANNOTATED)
def test_annotated_configs_need_no_weight_file_to_be_read(name):
    config = load_config(str(CONFIGS / f'vfm/{name}.py'))
    assert config.model.pretrained.startswith('timm://')
    check_values(config, name)
    check_keys(config, name)


@pytest.mark.long
def test_sections_fit_each_other_and_every_key_is_read(resolved, tmp_path):
    file = tmp_path / 'resolved.json'
    for config in (config for configs in resolved.values() for config in configs):
        check_values(config, config.name)
        file.write_text(json.dumps(as_dict(config)))
        check_keys(load_config(str(file)), config.name)


def test_every_annotated_config_states_the_memory_it_needs():
    page = (Path(CONFIGS.parent) / 'docs/encoders.md').read_text()
    for name in ANNOTATED:
        assert 'Memory' in (CONFIGS / f'vfm/{name}.py').read_text()
        assert f'`{name.removeprefix("gta2cs_")}`' in page


def test_the_memory_of_a_step_can_be_estimated():
    (config,) = (
        c for c in generate_experiment_cfgs(202) if 'mtoken' in c['name'] and c['seed'] == 0
    )
    small = resolve(with_bases_from(small_scale(config), '.'))
    weights, optimizer, rest = step_memory(small)
    assert weights == pytest.approx(optimizer, rel=0.01) and rest > 0  # student, teacher; Adam
