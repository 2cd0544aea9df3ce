"""The configuration files: all can be read, data sets as the paper has them, the annotated one."""

import json
from pathlib import Path

import mmcv
import pytest

from experiments import generate_experiment_cfgs
from tools.run_config import with_bases_from

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
BASES = sorted(CONFIGS.glob('_base_/**/*.py'))
RUNS = sorted(
    path
    for folder in ('daformer', 'hrda', 'mic', 'street_scenes', 'vfm')
    for path in CONFIGS.glob(f'{folder}/*.py')
)
ANNOTATED = CONFIGS / 'daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
META = (
    *('name', 'exp', 'name_dataset', 'name_architecture', 'name_encoder', 'name_decoder'),
    *('name_uda', 'name_opt'),
)


def load(path):
    return mmcv.Config.fromfile(str(CONFIGS / path))


def step(pipeline, name):
    """The one transform of that name in a pipeline, without its type."""
    (found,) = [t for t in pipeline if t['type'] == name]
    return {key: value for key, value in found.items() if key != 'type'}


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.stem)
def test_every_base_file_says_what_it_is_and_can_be_read(path):
    assert path.read_text().startswith('# ')
    assert len(load(path)) > 0


GTA = ('GTADataset', 'data/gta/', 'images', 'labels')
CITYSCAPES = ('CityscapesDataset', 'data/cityscapes/', 'leftImg8bit/train')
CITYSCAPES_LABELLED = (*CITYSCAPES, 'gtFine/train')
# file → labelled source, its size, target, its size and validation folders, crop
UDA_DATA = {
    'gta_to_cityscapes_512x512': (
        GTA,
        (1280, 720),
        CITYSCAPES,
        (1024, 512),
        ('leftImg8bit/val', 'gtFine/val'),
        512,
    ),
    'synthia_to_cityscapes_512x512': (
        ('SynthiaDataset', 'data/synthia/', 'RGB', 'GT/LABELS'),
        (1280, 760),
        CITYSCAPES,
        (1024, 512),
        ('leftImg8bit/val', 'gtFine/val'),
        512,
    ),
    **{
        f'{name}_to_cityscapes_512x512': (
            (f'{kind}Dataset', f'data/{name}/', *folders),
            (1024, 512),
            CITYSCAPES,
            (1024, 512),
            ('leftImg8bit/val', 'gtFine/val'),
            512,
        )
        for name, kind, *folders in (
            ('urbansyn', 'UrbanSyn', 'rgb', 'ss'),
            ('synscapes', 'Synscapes', 'img/rgb-2k', 'img/class'),
        )
    },
    'cityscapes_to_acdc_512x512': (
        CITYSCAPES_LABELLED,
        (1024, 512),
        ('ACDCDataset', 'data/acdc/', 'rgb_anon/train'),
        (960, 540),
        ('rgb_anon/val', 'gt/val'),
        512,
    ),
    'cityscapes_to_darkzurich_512x512': (
        CITYSCAPES_LABELLED,
        (1024, 512),
        ('DarkZurichDataset', 'data/dark_zurich/', 'rgb_anon/train/night'),
        (960, 540),
        ('rgb_anon/val', 'gt/val'),
        512,
    ),
    'gtaHR_to_cityscapesHR_1024x1024': (
        GTA,
        (2560, 1440),
        CITYSCAPES,
        (2048, 1024),
        ('leftImg8bit/val', 'gtFine/val'),
        1024,
    ),
    'gtaCAugHR_to_cityscapesHR_1024x1024': (
        GTA,
        (2560, 1440),
        CITYSCAPES,
        (2048, 1024),
        ('leftImg8bit/val', 'gtFine/val'),
        1024,
    ),
    'gtaCAug_to_cityscapes_512x512': (
        GTA,
        (1280, 720),
        CITYSCAPES,
        (1024, 512),
        ('leftImg8bit/val', 'gtFine/val'),
        512,
    ),
    'synthiaHR_to_cityscapesHR_1024x1024': (
        ('SynthiaDataset', 'data/synthia/', 'RGB', 'GT/LABELS'),
        (2560, 1520),
        CITYSCAPES,
        (2048, 1024),
        ('leftImg8bit/val', 'gtFine/val'),
        1024,
    ),
    'cityscapesHR_to_acdcHR_1024x1024': (
        CITYSCAPES_LABELLED,
        (2048, 1024),
        ('ACDCDataset', 'data/acdc/', 'rgb_anon/train'),
        (1920, 1080),
        ('rgb_anon/val', 'gt/val'),
        1024,
    ),
    'cityscapesHR_to_darkzurichHR_1024x1024': (
        CITYSCAPES_LABELLED,
        (2048, 1024),
        ('DarkZurichDataset', 'data/dark_zurich/', 'rgb_anon/train/night'),
        (1920, 1080),
        ('rgb_anon/val', 'gt/val'),
        1024,
    ),
    **dict.fromkeys(
        ('cityscapes_to_cityscapes_512x512', 'cityscapesCAug_to_cityscapesCAug_512x512'),
        (
            CITYSCAPES_LABELLED,
            (1024, 512),
            CITYSCAPES,
            (1024, 512),
            ('leftImg8bit/val', 'gtFine/val'),
            512,
        ),
    ),
    'street_scenes_128x128': (
        ('GTADataset', 'data/street_scenes/gta/', 'images', 'labels'),
        (320, 176),
        ('CityscapesDataset', 'data/street_scenes/cityscapes/', 'leftImg8bit/train'),
        (256, 128),
        ('leftImg8bit/val', 'gtFine/val'),
        128,
    ),
}
SUPERVISED_DATA = {
    'gta_to_cityscapes_512x512': 'gta_to_cityscapes_512x512',
    'street_scenes_128x128': 'street_scenes_128x128',
}
NORMALIZE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def check_training_pipeline(pipeline, size, crop):
    """What all training pipelines have in common, and their order."""
    assert step(pipeline, 'Resize') == dict(img_scale=size)
    assert step(pipeline, 'RandomCrop')['crop_size'] == (crop, crop)
    assert step(pipeline, 'RandomFlip') == dict(prob=0.5)
    assert step(pipeline, 'Normalize') == NORMALIZE
    assert step(pipeline, 'Pad') == dict(size=(crop, crop), pad_val=0, seg_pad_val=255)
    order = [t['type'] for t in pipeline]
    optional = ('LoadAnnotations', 'PhotoMetricDistortion')
    assert [name for name in order if name not in optional] == [
        *('LoadImageFromFile', 'Resize', 'RandomCrop', 'RandomFlip', 'Normalize', 'Pad'),
        *('DefaultFormatBundle', 'Collect'),
    ]
    if 'PhotoMetricDistortion' in order:
        assert order.index('PhotoMetricDistortion') == order.index('Normalize') - 1


def check_test_data(data, target, size, folders):
    assert data.val == data.test
    assert (data.val.type, data.val.data_root) == target[:2]
    assert (data.val.img_dir, data.val.ann_dir) == folders
    augmentation = step(data.val.pipeline, 'MultiScaleFlipAug')
    assert augmentation['img_scale'] == size
    assert augmentation['flip'] is False
    assert step(augmentation['transforms'], 'Resize') == dict(keep_ratio=True)
    assert step(augmentation['transforms'], 'Normalize') == NORMALIZE


@pytest.mark.parametrize('name', UDA_DATA)
def test_uda_data(name):
    source, source_size, target, target_size, val_folders, crop = UDA_DATA[name]
    data = load(f'_base_/datasets/uda_{name}.py').data
    train = data.train
    assert train.type == 'UDADataset'
    assert tuple(train.source[k] for k in ('type', 'data_root', 'img_dir', 'ann_dir')) == source
    assert tuple(train.target[k] for k in ('type', 'data_root', 'img_dir')) == target
    check_training_pipeline(train.source.pipeline, source_size, crop)
    check_training_pipeline(train.target.pipeline, target_size, crop)
    assert step(train.source.pipeline, 'RandomCrop')['cat_max_ratio'] == 0.75
    # Mixed images are augmented in training, unlike those of CAug's methods.
    source_name, _, target_name = name.partition('_to_')
    for side, dataset in ((source_name, train.source), (target_name, train.target)):
        assert ('PhotoMetricDistortion' in str(dataset)) == ('CAug' in side)
    check_test_data(data, target, target_size, val_folders)


@pytest.mark.parametrize('name', UDA_DATA)
def test_target_labels_are_not_read(name):
    target = load(f'_base_/datasets/uda_{name}.py').data.train.target
    assert 'ann_dir' not in target
    assert 'LoadAnnotations' not in [t['type'] for t in target.pipeline]
    assert 'cat_max_ratio' not in step(target.pipeline, 'RandomCrop')
    assert step(target.pipeline, 'Collect') == dict(keys=['img'])


@pytest.mark.parametrize('name', SUPERVISED_DATA)
def test_source_only_data_is_that_of_uda_with_distortion(name):
    source, source_size, target, target_size, val_folders, crop = UDA_DATA[name]
    data = load(f'_base_/datasets/{name}.py').data
    train = data.train
    assert tuple(train[k] for k in ('type', 'data_root', 'img_dir', 'ann_dir')) == source
    check_training_pipeline(train.pipeline, source_size, crop)
    assert step(train.pipeline, 'RandomCrop')['cat_max_ratio'] == 0.75
    assert step(train.pipeline, 'PhotoMetricDistortion') == {}
    check_test_data(data, target, target_size, val_folders)


@pytest.mark.parametrize(
    ('name', 'size', 'crop'),
    [
        ('cityscapes_half_512x512', (1024, 512), 512),
        *((f'cityscapes_{c}x{c}', (1024, 512), c) for c in (128, 256, 384, 512)),
        *((f'cityscapesHR_{c}x{c}', (2048, 1024), c) for c in (256, 512, 768, 1024)),
    ],
)
def test_target_only_data(name, size, crop):
    data = load(f'_base_/datasets/{name}.py').data
    train = data.train
    keys = ('type', 'data_root', 'img_dir', 'ann_dir')
    assert tuple(train[k] for k in keys) == CITYSCAPES_LABELLED
    check_training_pipeline(train.pipeline, size, crop)
    assert step(train.pipeline, 'RandomCrop')['cat_max_ratio'] == 0.75
    assert step(train.pipeline, 'PhotoMetricDistortion') == {}
    check_test_data(data, CITYSCAPES, size, ('leftImg8bit/val', 'gtFine/val'))


def test_optimizer():
    optimizer = load('_base_/schedules/adamw.py').optimizer
    assert optimizer == dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01)


@pytest.mark.parametrize('path', RUNS, ids=lambda path: path.stem)
def test_whole_configs_have_what_a_run_needs(path):
    config = load(path)
    assert {*META, 'seed', 'n_gpus', 'model', 'data', 'optimizer', 'lr_config'} <= set(config)
    assert config.checkpoint_config.interval == config.runner.max_iters
    assert config.runner.max_iters % config.evaluation.interval == 0
    supervised = config.name_uda == 'source-only'
    assert (config.get('uda') is None) == supervised
    assert not config.optimizer_config


def test_annotated_config_is_the_one_of_the_experiments(tmp_path):
    name = 'gta2cs_dacs_a999_fdthings_rcs001_cpl_daformer_sepaspp_mitb5_poly10warm_s0'
    (generated,) = [c for c in generate_experiment_cfgs(6) if c['name'] == name]
    file = tmp_path / 'generated.json'
    file.write_text(json.dumps(with_bases_from(generated, tmp_path)))

    annotated = load(ANNOTATED)._cfg_dict.to_dict()
    generated = mmcv.Config.fromfile(str(file))._cfg_dict.to_dict()
    differing = {key for key in {*annotated, *generated} if annotated[key] != generated[key]}
    assert differing == {'name', 'exp', 'name_uda'}
    assert annotated['name'] == ANNOTATED.stem
    assert annotated['exp'] == 'basic'
    assert annotated['name_uda'] == 'dacs_a999_fd_things_rcs0.01_cpl'


# file → experiment with its run, without the end of its name; seed
OF_SUCCESSORS = {
    'hrda/gtaHR2csHR_hrda': (40, 'gtaHR2csHR', 1),
    'hrda/synHR2csHR_hrda': (40, 'synHR2csHR', 0),
    'hrda/csHR2acdcHR_hrda': (49, 'csHR2acdcHR', 0),
    'hrda/csHR2dzurHR_hrda': (49, 'csHR2dzurHR', 0),
    'mic/gtaHR2csHR_mic_hrda': (80, 'gtaHR2csHR', 2),
    'mic/synHR2csHR_mic_hrda': (80, 'synHR2csHR', 0),
    'mic/csHR2acdcHR_mic_hrda': (80, 'csHR2acdcHR', 0),
    'mic/csHR2dzurHR_mic_hrda': (80, 'csHR2dzurHR', 0),
    'mic/gta2cs_mic_daformer': (81, 'gta2cs_dacs_a999_fdthings_rcs001_cpl_m32-07-spta_daform', 0),
}


def plain(path):
    """A resolved config as JSON would hold it, without variables of its file."""
    config = json.loads(json.dumps(load(path)._cfg_dict.to_dict()))
    variables = ('pipeline', 'img_norm_cfg', 'crop_size', 'norm_cfg', 'target_val')
    return {key: value for key, value in config.items() if not key.endswith(variables)}


def test_every_config_of_hrda_and_mic_is_compared():
    assert set(OF_SUCCESSORS) == {
        f'{path.parent.name}/{path.stem}' for path in RUNS if path.parent.name in ('hrda', 'mic')
    }


@pytest.mark.parametrize('path', OF_SUCCESSORS)
def test_configs_of_hrda_and_mic_are_those_of_the_experiments(path, tmp_path):
    experiment, name, seed = OF_SUCCESSORS[path]
    (generated,) = (
        c
        for c in generate_experiment_cfgs(experiment)
        if c['name'].startswith(name) and c['seed'] == seed
    )
    file = tmp_path / 'generated.json'
    file.write_text(json.dumps(with_bases_from(generated, tmp_path)))
    annotated, generated = plain(f'{path}.py'), plain(file)
    assert annotated['name'] == f'{Path(path).stem}_s{seed}'
    assert annotated['exp'] == 'basic'
    for key in ('mask_alpha', 'mask_pseudo_threshold'):  # stated where they are explained
        assert annotated['uda'].pop(key, 'same') == 'same'
    differing = {
        key for key in {*annotated, *generated} if annotated.get(key) != generated.get(key)
    }
    assert differing - {'gpu_model'} == {'name', 'exp'}


def test_facts_of_the_published_configs():
    hrda, mic = load('hrda/gtaHR2csHR_hrda.py'), load('mic/gtaHR2csHR_mic_hrda.py')
    assert (hrda.name, hrda.seed) == ('gtaHR2csHR_hrda_s1', 1)
    assert (mic.name, mic.seed) == ('gtaHR2csHR_mic_hrda_s2', 2)
    assert hrda.name_uda == 'dacs_a999_fdthings_rcs0.01-2.0_cpl2'
    assert mic.name_uda == 'dacs_a999_fdthings_rcs0.01-2.0_cpl2_m64-0.7-spta'
    for config in (hrda, mic):
        assert (config.exp, config.gpu_model) == ('basic', 'NVIDIATITANRTX')
        assert config.name_dataset == 'gtaHR2cityscapesHR_1024x1024'
        assert config.model.scales == [1, 0.5] and config.model.hr_crop_size == (512, 512)
    assert {**mic.model} == {**hrda.model}


def test_street_scenes_configs_differ_in_the_method_alone():
    source_only = load('street_scenes/source_only_mitb0.py')
    uda = load('street_scenes/uda_mitb0.py')
    for key in ('model', 'optimizer', 'lr_config', 'seed'):
        assert source_only[key] == uda[key]
    assert source_only.data.val == uda.data.val
    assert uda.model.pretrained is None
    assert uda.uda.imnet_feature_dist_lambda == 0
    assert uda.data.train.rare_class_sampling.min_pixels == 300
    # Rows of the 128 that the hood of the drawn car may cover: a tenth.
    assert uda.uda.pseudo_weight_ignore_bottom == 13
    assert uda.uda.pseudo_weight_ignore_top == 0


def test_successors_on_street_scenes():
    plain, uda = load('street_scenes/uda_mitb0.py'), 'uda'
    mic, hrda, both = (
        load(f'street_scenes/{name}_mitb0.py') for name in ('mic', 'hrda', 'mic_hrda')
    )
    source_only = load('street_scenes/hrda_source_only_mitb0.py')
    assert {**mic[uda], **plain[uda]} == mic[uda]
    assert set(mic[uda]) - set(plain[uda]) == {'mask_mode', 'mask_lambda', 'mask_generator'}
    assert mic.model == plain.model
    assert hrda[uda] == plain[uda] and both[uda] == mic[uda]
    assert hrda.model == both.model == source_only.model
    assert hrda.data == mic.data == both.data == plain.data
