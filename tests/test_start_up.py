"""Start-up tests: every run of experiments 100 and 101 trains, evaluates and saves, made small.

So do all networks and methods of HRDA and MIC, and of foundation encoders.

What `run_experiments.py --small` does is in run_experiments.py.
"""

import json
import math
import os
import re
import shutil
from fnmatch import fnmatchcase

import pytest

import run_experiments
from experiments import generate_experiment_cfgs
from mmseg.engine.config import as_dict, load_config
from mmseg.engine.runner import SeededRunner
from mmseg.models.decode_heads.mlp_head import SegFormerHead
from tests.tiny_runs import CHECKOUT, only, resolve
from tools.run_config import with_bases_from

# What is trained of an encoder with an adapter.
ADAPTED = re.compile(r'\.(lora_[AB]\.weight|mask_token)$')
# The cheapest network, and the method with everything on.
FAST = ('target-only_dlv2red_r50v1c',)


def start_up_tests():
    """The runs: (experiment, name)."""
    for experiment in (100, 101):
        for config in generate_experiment_cfgs(experiment):
            name = config['name'].removeprefix('gta2cs_').removesuffix('_poly10warm_s0')
            marks = () if name in FAST else pytest.mark.long
            yield pytest.param(experiment, config['name'], id=f'{experiment}-{name}', marks=marks)


@pytest.fixture
def started(monkeypatch, workplace, one_thread):
    """The runners of the runs that a test starts."""
    runners, run = [], SeededRunner.run

    def remember(runner, loader):
        runners.append(runner)
        run(runner, loader)

    monkeypatch.setattr(SeededRunner, 'run', remember)
    yield runners
    runners.clear()
    shutil.rmtree('work_dirs', ignore_errors=True)  # pytest would keep gigabytes of checkpoints


@pytest.mark.parametrize(('experiment', 'name'), list(start_up_tests()))
def test_a_run_starts(started, experiment, name):
    run_experiments.main(['--exp', str(experiment), '--small', '--only', name, '--device', 'cpu'])

    folder = only(f'work_dirs/local-exp{experiment}-small/*_small_{name}_*')
    assert os.path.isfile(f'{folder}/iter_2.pth')
    with open(only(f'{folder}/*.log.json')) as file:
        log = [json.loads(line) for line in file]
    train = [entry for entry in log if entry.get('mode') == 'train']
    assert [entry['iter'] for entry in train] == [1, 2]
    for entry in train:
        losses = {name: value for name, value in entry.items() if 'loss' in name}
        assert losses and all(map(math.isfinite, losses.values())), losses
        assert ('mix.decode.loss_ce' in losses) == ('_dacs' in name)
        assert ('src.loss_imnet_feat_dist' in losses) == ('_fd' in name)
    (val,) = (entry for entry in log if entry.get('mode') == 'val')
    assert 0 <= val['mIoU'] <= 1

    (runner,) = started
    check_gradients(runner.model.model)
    trained = {id(p) for group in runner.optimizer.param_groups for p in group['params']}
    assert trained == set(map(id, runner.model.model.parameters()))
    if '_dacs' in name:
        check_frozen(runner.model, with_encoder='_fd' in name)


def check_gradients(student):
    """Check the gradients that the last iteration left: none is missing, all are finite."""
    # Published checkpoints contain SegFormerHead's conv_seg, which nothing uses.
    unused = {'decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'}
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == (unused if isinstance(student.decode_head, SegFormerHead) else set())
    for name, parameter in student.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None, f'{name} has no gradient'
            assert parameter.grad.isfinite().all(), f'the gradient of {name} is not finite'


def check_frozen(dacs, with_encoder):
    """Check that no gradient reaches the teacher and the frozen encoder."""
    frozen = {n: p for n, p in dacs.named_parameters() if not n.startswith('model.')}
    networks = {name.split('.')[0] for name in frozen}
    assert networks == ({'ema_model', 'imnet_model'} if with_encoder else {'ema_model'})
    for name, parameter in frozen.items():
        assert not parameter.requires_grad and parameter.grad is None, name


# Every network and every method of the successors' experiments.
SUCCESSORS = [
    (40, 'gtaHR2csHR*_hrda1-512-01_daformer*'), (41, '*_advseg_dlv2red*'),
    (41, '*_advseg_hrda1*'), (41, '*_minent_dlv2red*'), (41, '*_minent_hrda1*'),
    (41, 'gtaHR*_dacs_hrda1*dlv2red*'), (42, '*sf128x128*'), (43, '2cs_128x128*'),
    (44, '*sf512x512_cpl2_hrda1-512-01_daf*'), (44, '*samescale*'), (44, '*blurhr*'),
    (44, '*fixedatt*'), (44, '*512-0-nooverlap*'), (44, '*sc025*'), (44, '*sc075*'),
    (49, 'csHR2acdcHR*'), (80, 'gtaHR2csHR*'), (80, 'csHR2dzurHR*'), (81, '*_advseg_m*'),
    (81, '*_minent_m*'), (81, '*rcs001_cpl_m32*daformer*'), (82, 'gtaHR*-spa_*'),
    (82, 'csHR2acdcHR*-spt_*'), (82, 'csHR2acdcHR*-sps_*'), (83, '*-a0-*'), (83, '*-pN-*'),
    (85, 'cs2cs*'),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(('experiment', 'pattern'), SUCCESSORS)
def test_a_run_of_the_successors_starts(started, experiment, pattern):
    (config,) = (
        config
        for config in generate_experiment_cfgs(experiment)
        if config['seed'] == 0 and fnmatchcase(config['name'], pattern)
    )
    small = resolve(with_bases_from(run_experiments.small_scale(config), '.'))
    small.runner.max_iters = small.evaluation.interval = small.checkpoint_config.interval = 2
    small.log_config.interval = 1
    with open('small.json', 'w') as file:
        json.dump(as_dict(small), file)
    run_experiments.main(['--config', 'small.json', '--device', 'cpu'])

    with open(only('work_dirs/*/*/*.log.json')) as file:
        log = [json.loads(line) for line in file]
    last = [entry for entry in log if entry.get('mode') == 'train'][-1]
    losses = {name: value for name, value in last.items() if 'loss' in name}
    assert last['iter'] == 2 and all(map(math.isfinite, losses.values())), losses
    assert ('masked.decode.loss_ce' in losses) == ('mask_mode' in (small.get('uda') or {}))
    assert ('decode.hr.loss_ce' in losses) == (small.model.decode_head.get('hr_loss_weight', 0) > 0)
    (runner,) = started
    check_gradients(runner.model.model)


# Every run with a foundation encoder: name → one of its experiments.
FOUNDATION = {
    config['name']: experiment
    for experiment in (200, 201, 202)
    for config in generate_experiment_cfgs(experiment)
    if config['seed'] == 0
}


@pytest.mark.long
@pytest.mark.parametrize('name', FOUNDATION)
def test_a_run_with_a_foundation_encoder_starts(started, name):
    experiment = str(FOUNDATION[name])
    run_experiments.main(['--exp', experiment, '--small', '--only', name, '--device', 'cpu'])
    check_run_of_a_foundation_encoder(started, is_masked='spta' in name, is_adapted='-lora' in name)


@pytest.mark.long
def test_the_successor_of_vfm_uda_starts(started):
    (config,) = (
        config
        for config in generate_experiment_cfgs(201)
        if config['seed'] == 0 and 'vfm_pyramid-f2p' in config['name']
    )
    small = resolve(with_bases_from(run_experiments.small_scale(config), '.'))
    successor = load_config(str(CHECKOUT / 'configs/vfm/gta2cs_vfm_uda_pp_dinov2-l.py'))
    del small.model.backbone['mask_token']  # blocks are masked
    small.uda, small.optimizer = successor.uda, successor.optimizer
    small.uda.mask_generator.mask_block_size = 7
    encoder = {'depth': 4, 'embed_dim': 64, 'num_heads': 4, 'out_indices': [3]}
    small.uda.feature_distance.teacher.update(pretrained=None, **encoder)
    with open('small.json', 'w') as file:
        json.dump(as_dict(small), file)
    run_experiments.main(['--config', 'small.json', '--device', 'cpu'])
    losses = check_run_of_a_foundation_encoder(started, is_masked=True, is_adapted=False)
    assert len([name for name in losses if 'dist' in name]) == 2


def check_run_of_a_foundation_encoder(started, is_masked, is_adapted):
    """Check losses and gradients of a run's last iteration; returns the losses."""
    with open(only('work_dirs/*/*/*.log.json')) as file:
        log = [json.loads(line) for line in file]
    last = [entry for entry in log if entry.get('mode') == 'train'][-1]
    losses = {name: value for name, value in last.items() if 'loss' in name}
    assert last['iter'] == 2 and all(map(math.isfinite, losses.values())), losses
    assert ('masked.decode.loss_ce' in losses) == is_masked
    (runner,) = started
    trained = {id(p) for group in runner.optimizer.param_groups for p in group['params']}
    for name, parameter in runner.model.model.named_parameters():
        is_frozen = is_adapted and name.startswith('backbone.') and not ADAPTED.search(name)
        assert parameter.requires_grad == (not is_frozen), name
        if is_frozen:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.isfinite().all() and id(parameter) in trained, name
    return losses
