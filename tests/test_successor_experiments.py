"""The experiments of HRDA and MIC: names as published, and what their parts mean in a config."""

import json
from pathlib import Path

import mmcv
import pytest

from experiments import STUDIES, generate_experiment_cfgs
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.config import as_dict, load_config
from tools.run_config import with_bases_from

GOLDEN_FOLDER = Path(__file__).parent / 'golden'
GOLDEN = json.loads((GOLDEN_FOLDER / 'successors' / 'experiments.json').read_text())
OF_DAFORMER = json.loads((GOLDEN_FOLDER / 'experiments.json').read_text())


@pytest.fixture(scope='module')
def resolved(tmp_path_factory):
    """Every configuration of seed 0, resolved: (experiment, name without its end) → Config."""
    folder = tmp_path_factory.mktemp('generated')
    configs = {}
    for experiment in map(int, GOLDEN):
        for config in generate_experiment_cfgs(experiment):
            if config['seed'] == 0:
                file = folder / f'{experiment}_{config["name"]}.json'
                file.write_text(json.dumps(with_bases_from(config, folder)))
                name = config['name'].removesuffix('_s0')
                configs[experiment, name] = mmcv.Config.fromfile(str(file))
    return configs


def find(resolved, experiment, part):
    """The one config of an experiment whose name holds a part."""
    (found,) = (c for (e, name), c in resolved.items() if e == experiment and part in name)
    return found


@pytest.mark.parametrize('experiment', GOLDEN)
def test_names_and_order_are_as_published(experiment):
    names = [config['name'] for config in generate_experiment_cfgs(int(experiment))]
    assert names == GOLDEN[experiment]


def test_every_experiment_is_published():
    published = [experiment for experiment in STUDIES if experiment < 200]
    assert published == sorted(map(int, GOLDEN | OF_DAFORMER))


def test_what_all_runs_have(resolved):
    assert 3 * len(resolved) == sum(map(len, GOLDEN.values()))
    for (experiment, name), config in resolved.items():
        assert config.exp == experiment
        assert config.seed == 0 and config.n_gpus == 1
        assert config.name_architecture == f'{config.name_decoder}_{config.name_encoder}'
        assert config.data.samples_per_gpu == 2
        assert config.data.workers_per_gpu == 1
        assert config.runner == dict(type='IterBasedRunner', max_iters=40000)
        assert config.evaluation == dict(interval=4000, metric='mIoU')
        assert config.lr_config.warmup_iters == 1500
        assert not config.optimizer_config
        is_adversarial = '_advseg' in name or '_minent' in name
        if is_adversarial:
            assert config.optimizer == dict(
                type='SGD', lr=0.0025, momentum=0.9, weight_decay=0.0005
            )
            assert config.name_opt == 'sgd_0.0025_pmFalse_poly10warm_1x2_40k'
        else:
            assert (config.optimizer.type, config.optimizer.lr) == ('AdamW', 6e-5)
            assert config.optimizer.paramwise_cfg.custom_keys['head'] == dict(lr_mult=10.0)
            assert config.name_opt == 'adamw_6e-05_pmTrue_poly10warm_1x2_40k'
        assert (config.get('uda') is None) == ('target-only' in name)
        assert (config.get('uda') or {}).get('type') in {
            *([None] if 'target-only' in name else []),
            'AdvSeg' if '_advseg' in name else 'MinEnt' if '_minent' in name else 'DACS',
        }


def test_data_has_the_sizes_of_the_name(resolved):
    for (_, name), config in resolved.items():
        is_large = 'HR' in config.name_dataset
        train = config.data.train
        source = train.get('source', train)
        target = train.get('target', config.data.val if train.type == 'DGDataset' else train)
        assert config.data.val.pipeline == config.data.test.pipeline
        test_size = config.data.val.pipeline[1].img_scale
        sizes = [t.img_scale for t in target.pipeline if 'img_scale' in t]
        if 'acdc' in name or 'dzur' in name:
            assert test_size == (1920, 1080)
        else:
            assert test_size == ((2048, 1024) if is_large else (1024, 512))
        assert sizes == [test_size]
        for data in (train.get('target', source), source):
            (crop,) = (t.crop_size for t in data.pipeline if t.type == 'RandomCrop')
            stated = config.name_dataset.rpartition('_')[2].partition('x')[0]
            assert crop == ((int(stated),) * 2 if stated.isdigit() else (512, 512))
        distorts = 'PhotoMetricDistortion' in str(source)
        assert distorts == ('CAug' in name or 'target-only' in name)


def test_rare_class_sampling(resolved):
    for (_, name), config in resolved.items():
        expected = None
        if '_rcs001' in name:
            ratio = 2.0 if '_rcs001-20' in name else 0.5
            expected = dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=ratio)
        assert config.data.train.get('rare_class_sampling') == expected
        assert ('_rcs001-20' in name) == (expected is not None and '1024x1024' in name)


def test_margins(resolved):
    for (_, name), config in resolved.items():
        target = config.data.train.get('target', {})
        uda = config.get('uda') or {}
        rows = uda.get('pseudo_weight_ignore_top', 0), uda.get('pseudo_weight_ignore_bottom', 0)
        margins = target.get('crop_pseudo_margins')
        assert margins == ([30, 240, 30, 30] if '_cpl2' in name else None)
        assert rows == ((15, 120) if '_cpl_' in name else (0, 0))


def test_crops_of_both(resolved):
    for (_, name), config in resolved.items():
        size = name.partition('_sf')[2].partition('x')[0]
        expected = [int(size)] * 2 if size else None
        assert config.data.train.get('sync_crop_size') == expected


def test_windows_are_as_large_as_training_crops(resolved):
    for (experiment, name), config in resolved.items():
        if '_sl_' not in name:
            assert config.model.test_cfg == dict(mode='whole')
            continue
        side = (config.data.train.get('sync_crop_size') or [0])[0]
        if not side:
            (side, _), *_ = (
                t.crop_size
                for t in (config.data.train.get('source') or config.data.train).pipeline
                if t.type == 'RandomCrop'
            )
        assert config.model.test_cfg == dict(
            mode='slide',
            batched_slide='HR' not in name or side > 256,
            stride=[side // 2] * 2,
            crop_size=[side] * 2,
        )
        assert experiment != 41


def test_hrda(resolved):
    config = find(resolved, 40, 'gtaHR2csHR')
    assert config.name_decoder == 'hrda1-512-0.1_daformer_sepaspp_sl'
    assert config.name_uda == 'dacs_a999_fdthings_rcs0.01-2.0_cpl2'
    model = config.model
    assert model.type == 'HRDAEncoderDecoder'
    assert (model.scales, model.hr_crop_size) == ([1, 0.5], [512, 512])
    assert (model.crop_coord_divisible, model.feature_scale) == (8, 0.5)
    head = model.decode_head
    assert (head.type, head.single_scale_head) == ('HRDAHead', 'DAFormerHead')
    assert head.hr_loss_weight == 0.1 and 'lr_loss_weight' not in head
    assert head.in_channels == [64, 128, 320, 512]  # all keys of the single head stay
    assert head.decoder_params.fusion_cfg.type == 'aspp'
    head = find(resolved, 41, 'gtaHR2csHR_1024x1024_dacs_hrda').model.decode_head
    assert (head.single_scale_head, head.dilations) == ('DLV2Head', (6, 12))


@pytest.mark.parametrize(
    ('part', 'network', 'head'),
    [
        ('_sf512x512_cpl2_hrda1-512-01_', {'feature_scale': 'all'}, {'lr_loss_weight': 0.1}),
        ('_sf768x768_cpl2_hrda1-512-01_', {}, {}),
        ('-20_cpl2_hrda1-384-01_', {'hr_crop_size': [384, 384]}, {}),
        (
            'hrda1-256-01-samescale',
            {'scales': [1, 1], 'feature_scale': 1, 'hr_crop_size': [256, 256]},
            {},
        ),
        ('hrda1-512-01-blurhr', {'blur_hr_crop': True}, {}),
        ('512-0_', {}, {'hr_loss_weight': 0}),
        ('512-0-nooverlap', {'hr_slide_overlapping': False}, {'hr_loss_weight': 0}),
        (
            '512-0-fixedatt-nooverlap',
            {'hr_slide_overlapping': False},
            {'fixed_attention': 0.5, 'hr_loss_weight': 0},
        ),
        ('hrda1-512-07_', {}, {'hr_loss_weight': 0.7}),
        (
            'sc025',
            {'scales': [1, 0.25], 'feature_scale': 'all'},
            {'lr_loss_weight': 0.1},
        ),
        ('sc075', {'scales': [1, 0.75], 'feature_scale': 'all'}, {'lr_loss_weight': 0.1}),
    ],
)
def test_variants_of_hrda(resolved, part, network, head):
    plain = find(resolved, 40, 'gtaHR2csHR').model.to_dict()
    model = find(resolved, 44, part).model.to_dict()
    plain_head, found_head = plain.pop('decode_head'), model.pop('decode_head')
    assert found_head == {**plain_head, **head}
    assert {**model, 'test_cfg': None} == {**plain, **network, 'test_cfg': None}


# part of the name → mask_mode, ratio, block, and what else a run sets
MASKS = {
    'm64-07-spta': ('separatetrgaug', 0.7, 64, {}),
    'm64-07-sep': ('separate', 0.7, 64, {}),
    'm64-07-spsa': ('separatesrcaug', 0.7, 64, {}),
    'm64-07-spa': ('separateaug', 0.7, 64, {}),
    'm64-07-sps': ('separatesrc', 0.7, 64, {}),
    'm64-07-spt': ('separatetrg', 0.7, 64, {}),
    'm32-07-spt': ('separatetrg', 0.7, 32, {}),
    'm32-07-sps': ('separatesrc', 0.7, 32, {}),
    'm32-0-spta': ('separatetrgaug', 0, 32, {}),
    'm32-07-a0-spta': ('separatetrgaug', 0.7, 32, {'mask_alpha': 0}),
    'm32-07-pN-spta': ('separatetrgaug', 0.7, 32, {'mask_pseudo_threshold': None}),
    **{
        f'm{block}-0{ratio}-spta': ('separatetrgaug', ratio / 10, block, {})
        for block in (16, 32, 64, 128)
        for ratio in (3, 5, 7, 9)
    },
}


def test_masks(resolved):
    seen = set()
    for (experiment, name), config in resolved.items():
        uda = config.get('uda') or {}
        found = {key: value for key, value in uda.items() if key.startswith('mask_')}
        (part,) = [part for part in MASKS if f'_{part}_' in name] or [None]
        assert (part is not None) == (experiment >= 80)
        if part is None:
            assert not set(found) - {'mask_alpha', 'mask_pseudo_threshold'}
            continue
        seen.add(part)
        mode, ratio, block, others = MASKS[part]
        if uda.type != 'DACS':  # which have no pseudo-labels of their own
            others = {'mask_alpha': 0.999, 'mask_pseudo_threshold': 0.968}
        generator = dict(type='block', mask_ratio=ratio, mask_block_size=block)
        assert found == dict(mask_mode=mode, mask_lambda=1, mask_generator=generator, **others)
    assert seen == set(MASKS)


def test_supervised_training_with_masks(resolved):
    config = find(resolved, 85, 'cs2cs')
    assert config.uda.source_only is True
    assert config.uda.imnet_feature_dist_lambda == 0
    assert config.data.train.source.type == config.data.train.target.type == 'CityscapesDataset'
    assert config.data.train.source.ann_dir == 'gtFine/train'


def test_sections_fit_each_other(resolved):
    for (_, name), config in resolved.items():
        check_values(config, name)


@pytest.mark.long
def test_every_key_is_read(resolved, tmp_path):
    file = tmp_path / 'resolved.json'
    for (_, name), config in resolved.items():
        file.write_text(json.dumps(as_dict(config)))
        check_keys(load_config(str(file)), name)
