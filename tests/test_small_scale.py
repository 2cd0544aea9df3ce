"""`run_experiments.py --small`: what it changes in a run, and what stays.

tests/test_start_up.py trains such runs.
"""

import copy
from fnmatch import fnmatchcase

import pytest

import run_experiments
from experiments import STUDIES, generate_experiment_cfgs
from mmseg.engine.checks.config import check_values
from mmseg.engine.data_sets import training_sets
from run_experiments import small_scale
from tests.tiny_runs import resolve
from tools.run_config import crop_side, with_bases_from


def resolved(config):
    return resolve(with_bases_from(config, '.'))


def small_run(experiment, name):
    """The resolved small config of an experiment's run of seed 0 whose name holds this."""
    (config,) = (
        c
        for c in generate_experiment_cfgs(experiment)
        if fnmatchcase(c['name'], f'*{name}_poly*') and c['seed'] == 0
    )
    return resolved(small_scale(config))


@pytest.mark.parametrize('experiment', STUDIES)
def test_data_and_length_change_and_nothing_else(experiment):
    for config in generate_experiment_cfgs(experiment):
        if config['seed'] > 0:
            continue
        given = copy.deepcopy(config)
        whole, small = resolved(config), resolved(small_scale(config))
        assert config == given
        check_needs_street_scenes_alone(small)
        assert small.runner.max_iters == small.evaluation.interval == 2
        sizes = SIZES | (ENCODER_SIZES if 'Timm' in str(whole.model.backbone) else set())
        assert without_sizes({**small.model, 'pretrained': 0}, sizes) == without_sizes(
            {**whole.model, 'pretrained': 0}, sizes
        )
        for key in ('optimizer', 'optimizer_config', 'lr_config', 'seed', 'name_uda'):
            assert small[key] == whole[key]
        assert small.data.samples_per_gpu == whole.data.samples_per_gpu
        assert without_sizes(small.get('uda')) == without_sizes(whole.get('uda'))


SIZES = {
    *('hr_crop_size', 'crop_size', 'stride', 'mask_block_size'),
    *('pseudo_weight_ignore_top', 'pseudo_weight_ignore_bottom'),
}
# An encoder of timm is made small, too, and with it the channels of neck and head.
ENCODER_SIZES = {'depth', 'embed_dim', 'num_heads', 'depths', 'dims', 'in_channels'}


def without_sizes(section, sizes=frozenset(SIZES)):
    """A section without what has to shrink with the crops."""
    if not isinstance(section, dict):
        return section
    return {key: without_sizes(value, sizes) for key, value in section.items() if key not in sizes}


def check_needs_street_scenes_alone(config):
    assert config.model.pretrained is None
    for data in (*training_sets(config.data.train).values(), config.data.val, config.data.test):
        assert data.data_root.startswith('data/street_scenes/')


def test_supervised_runs_have_the_labels_of_their_name():
    assert small_run(101, 'target-only_segformer_mitb5').data.train.type == 'CityscapesDataset'
    assert small_run(101, 'source-only_segformer_mitb5').data.train.type == 'GTADataset'


def test_pixels_and_rows_shrink_with_the_crops():
    full = small_run(101, 'dacs_a999_fdthings_rcs001_cpl_segformer_mitb5')
    sampling = dict(min_pixels=10, class_temp=0.01, min_crop_ratio=0.5)
    assert full.data.train.rare_class_sampling == sampling
    assert (full.uda.pseudo_weight_ignore_top, full.uda.pseudo_weight_ignore_bottom) == (3, 30)
    assert 'rare_class_sampling' not in small_run(101, 'dacs_fd_segformer_mitb5').data.train


BLOCKS = (4, 7, 8, 16, 32)


def test_small_runs_fit_the_small_data():
    for experiment in STUDIES:
        for config in generate_experiment_cfgs(experiment):
            small = small_scale(config)
            model, train = small['model'], small['data']['train']
            assert crop_side(small['_base_'][2]) == 128
            (side, _) = train.get('sync_crop_size', (128, 128))
            assert side <= 128 and side % 8 == 0
            # The context is at least as large as what MiT's first stage pools.
            assert side * min(model.get('scales', [1])) >= 32
            if 'test_cfg' in model:
                assert model['test_cfg']['crop_size'] == [side, side]
            if 'hr_crop_size' in model:
                (detail, _) = model['hr_crop_size']
                assert detail <= side and detail % 8 == 0 and detail >= 32
                assert (detail == side) == ('lr_loss_weight' in model['decode_head'])
            if generator := (small.get('uda') or {}).get('mask_generator'):
                is_token = generator['type'] == 'token'
                assert generator.get('mask_block_size') in ([None] if is_token else BLOCKS)
            if 'target' in train:
                margins = [7, 60, 7, 7] if experiment < 200 else [0.03, 0.25, 0.03, 0.03]
                assert train['target'] == {'crop_pseudo_margins': margins}


def test_crops_of_hrda_shrink_with_the_image():
    model = small_run(40, 'gtaHR2csHR_1024x1024_*hrda1-512-01_daformer_sepaspp_sl_mitb5').model
    assert (model.hr_crop_size, model.test_cfg.stride) == ([64, 64], [64, 64])
    # A quarter of the 64 pixels that 512 become would be too little context.
    model = small_run(44, 'sc025_daformer_sepaspp_sl_mitb5').model
    assert model.hr_crop_size == model.test_cfg.crop_size == [128, 128]


@pytest.mark.parametrize('experiment', STUDIES)
def test_sections_fit_each_other(experiment):
    for config in generate_experiment_cfgs(experiment)[:: len(STUDIES[experiment].seeds)]:
        check_values(resolved(small_scale(config)), config['name'])


def test_small_runs_cannot_be_taken_for_real_ones():
    whole = generate_experiment_cfgs(7)[0]
    small = small_scale(whole)
    assert small['exp'] == '7-small'
    assert small['name'] == f'small_{whole["name"]}'
    assert small['name_dataset'] == 'street_scenes'


def test_a_single_config_has_no_small_scale(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_experiments.main(['--config', 'any.py', '--small'])
    assert stopped.value.code == 2
    assert '--small goes with --exp' in capsys.readouterr().err
