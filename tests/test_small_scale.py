"""`run_experiments.py --small`: what it changes in a run, and what stays.

tests/test_start_up.py trains such runs.
"""

import copy

import pytest

import run_experiments
from experiments import STUDIES, generate_experiment_cfgs
from run_experiments import small_scale
from tests.tiny_runs import resolve
from tools.run_config import with_bases_from


def resolved(config):
    return resolve(with_bases_from(config, '.'))


def small_run(experiment, name):
    """The resolved small config of an experiment's run of seed 0 whose name holds this."""
    (config,) = (
        c
        for c in generate_experiment_cfgs(experiment)
        if f'{name}_poly' in c['name'] and c['seed'] == 0
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
        assert {**small.model, 'pretrained': whole.model.pretrained} == whole.model
        for key in ('optimizer', 'optimizer_config', 'lr_config', 'seed', 'name_uda'):
            assert small[key] == whole[key]
        assert small.data.samples_per_gpu == whole.data.samples_per_gpu
        uda = whole.get('uda') or {}
        rows = {key: value for key, value in uda.items() if '_ignore_' in key}
        assert {**(small.get('uda') or {}), **rows} == uda


def check_needs_street_scenes_alone(config):
    assert config.model.pretrained is None
    train = config.data.train
    sets = [train.source, train.target] if train.type == 'UDADataset' else [train]
    for data in (*sets, config.data.val, config.data.test):
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
