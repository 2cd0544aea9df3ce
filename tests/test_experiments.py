"""DAFormer's experiments: names and order as published, what every run's resolved config says.

Those of its successors are in tests/test_successor_experiments.py.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mmcv
import pytest

from experiments import generate_experiment_cfgs
from tools.run_config import with_bases_from

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = json.loads((Path(__file__).parent / 'golden' / 'experiments.json').read_text())
THINGS = [6, 7, 11, 12, 13, 14, 15, 16, 17, 18]
FULL_UDA = 'dacs_a999_fdthings_rcs001_cpl'


@pytest.fixture(scope='module')
def resolved(tmp_path_factory):
    """Every configuration of these experiments, resolved: (experiment, name) → mmcv.Config."""
    folder = tmp_path_factory.mktemp('generated')
    configs = {}
    for experiment in map(int, GOLDEN):
        for config in generate_experiment_cfgs(experiment):
            file = folder / f'{experiment}_{config["name"]}.json'
            file.write_text(json.dumps(with_bases_from(config, folder)))
            configs[experiment, config['name']] = mmcv.Config.fromfile(str(file))
    return configs


@pytest.mark.parametrize('experiment', GOLDEN)
def test_names_and_order_are_as_published(experiment):
    names = [config['name'] for config in generate_experiment_cfgs(int(experiment))]
    assert names == GOLDEN[experiment]


def test_every_config_resolves_with_all_that_a_run_needs(resolved):
    assert len(resolved) == sum(map(len, GOLDEN.values()))
    for (experiment, name), config in resolved.items():
        assert config.exp == experiment
        assert config.name == name
        assert config.n_gpus == 1
        assert name.endswith(f'_s{config.seed}')
        assert config.name_architecture == f'{config.name_decoder}_{config.name_encoder}'
        assert config.name_encoder in name
        assert config.name_uda.replace('.', '') in name
        assert config.model.decode_head.num_classes == 19
        assert config.data.samples_per_gpu == 2
        assert config.data.workers_per_gpu == 4
        assert config.log_config.interval == 50
        assert config.runner.type == 'IterBasedRunner'
        assert config.checkpoint_config == dict(
            by_epoch=False, interval=config.runner.max_iters, max_keep_ckpts=1
        )
        assert config.optimizer.type == 'AdamW'
        assert config.optimizer.lr == 6e-5
        assert config.optimizer.paramwise_cfg.custom_keys['head'] == dict(lr_mult=10.0)


@pytest.mark.long
def test_every_key_is_read(resolved, tmp_path):
    from mmseg.engine.checks.config import check_keys
    from mmseg.engine.config import as_dict, load_config

    file = tmp_path / 'resolved.json'
    for (_, name), config in resolved.items():
        if name.endswith('_s0'):  # other seeds change nothing else
            file.write_text(json.dumps(as_dict(config)))
            check_keys(load_config(str(file)), name)


def test_whole_runs_and_start_up_tests(resolved):
    for (experiment, _), config in resolved.items():
        if experiment < 100:
            assert config.runner.max_iters == 40000
            assert config.evaluation == dict(interval=4000, metric='mIoU')
            assert config.log_level == 'INFO'
            assert config.name_opt.endswith('_1x2_40k')
        else:
            assert config.runner.max_iters == 2
            assert config.evaluation == dict(interval=100, metric='mIoU')
            assert config.log_level == 'ERROR'
            assert config.name_opt.endswith('_1x2_0k')


def test_the_full_method(resolved):
    config = resolved[6, f'gta2cs_{FULL_UDA}_daformer_sepaspp_mitb5_poly10warm_s2']
    assert config.uda == dict(
        type='DACS',
        alpha=0.999,
        pseudo_threshold=0.968,
        pseudo_weight_ignore_top=15,
        pseudo_weight_ignore_bottom=120,
        imnet_feature_dist_lambda=0.005,
        imnet_feature_dist_classes=THINGS,
        imnet_feature_dist_scale_min_ratio=0.75,
        mix='class',
        blur=True,
        color_jitter_strength=0.2,
        color_jitter_probability=0.2,
        debug_img_interval=1000,
        print_grad_magnitude=False,
    )
    assert config.data.train.rare_class_sampling == dict(
        min_pixels=3000, class_temp=0.01, min_crop_ratio=0.5
    )
    assert config.lr_config == dict(
        policy='poly',
        warmup='linear',
        warmup_iters=1500,
        warmup_ratio=1e-6,
        power=1.0,
        min_lr=0.0,
        by_epoch=False,
    )
    assert not config.optimizer_config
    assert config.optimizer.paramwise_cfg.custom_keys == dict(
        head=dict(lr_mult=10.0), pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0)
    )
    assert config.seed == 2
    assert config.name_dataset == 'gta2cityscapes'
    assert config.name_decoder == 'daformer_sepaspp'
    assert config.name_uda == 'dacs_a999_fdthings_rcs0.01_cpl'
    assert config.name_opt == 'adamw_6e-05_pmTrue_poly10warm_1x2_40k'


# name_uda → alpha, lambda, classes, rows without weight, temperature of rare class sampling
METHODS = {
    'dacs': (0.99, 0, None, (0, 0), None),
    'dacs_rcsinf': (0.99, 0, None, (0, 0), float('inf')),
    'dacs_rcs0.01': (0.99, 0, None, (0, 0), 0.01),
    'dacs_fd': (0.99, 0.005, None, (0, 0), None),
    'dacs_fdthings': (0.99, 0.005, THINGS, (0, 0), None),
    'dacs_fdthings_rcs0.01': (0.99, 0.005, THINGS, (0, 0), 0.01),
    'dacs_a999_fdthings_rcs0.01_cpl': (0.999, 0.005, THINGS, (15, 120), 0.01),
}


def test_every_name_of_a_method_means_its_settings(resolved):
    seen = set()
    for config in resolved.values():
        if config.name_uda not in METHODS:
            continue
        seen.add(config.name_uda)
        sampling = config.data.train.get('rare_class_sampling') or {}
        uda = config.uda
        assert METHODS[config.name_uda] == (
            uda.alpha,
            uda.imnet_feature_dist_lambda,
            uda.imnet_feature_dist_classes,
            (uda.pseudo_weight_ignore_top, uda.pseudo_weight_ignore_bottom),
            sampling.get('class_temp'),
        )
        assert config.data.train.type == 'UDADataset'
        assert not config.optimizer_config
    assert seen == set(METHODS)


def test_supervised_runs_have_no_uda(resolved):
    seen = Counter()
    for config in resolved.values():
        if config.name_uda in METHODS:
            continue
        seen[config.name_uda] += 1
        assert config.get('uda') is None
        assert config.optimizer_config == {}
        labels_of = {'source-only': 'GTADataset', 'target-only': 'CityscapesDataset'}
        assert config.data.train.type == labels_of[config.name_uda]
        assert 'rare_class_sampling' not in config.data.train
    assert set(seen) == {'source-only', 'target-only'}


def test_runs_without_warmup(resolved):
    for (experiment, _), config in resolved.items():
        if experiment == 4:
            assert config.lr_config == dict(policy='poly', power=1.0, min_lr=1e-4, by_epoch=False)
        else:
            assert config.lr_config.warmup_iters == 1500


def test_cnns_decay_their_norms(resolved):
    config = resolved[1, 'gta2cs_dacs_dlv2red_r101v1c_poly10warm_s0']
    assert config.optimizer.paramwise_cfg.custom_keys == dict(head=dict(lr_mult=10.0))


def test_unknown_experiment_lists_those_that_exist():
    with pytest.raises(ValueError, match=r'experiment 9; there are: 1, 2, 3, .*101'):
        generate_experiment_cfgs(9)


def test_listing_needs_no_torch():
    code = (
        'import sys, experiments\n'
        '[experiments.generate_experiment_cfgs(i) for i in experiments.STUDIES]\n'
        "sys.exit(', '.join({'torch', 'mmcv', 'mmseg', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
