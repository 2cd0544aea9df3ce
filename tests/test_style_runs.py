"""Runs with style hallucination: their prototypes over stops and ranks, and mistakes in configs."""

import os
import re
import signal
from pathlib import Path

import pytest

from mmseg.engine import style_prototypes
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.config import load_config
from mmseg.utils.user_error import UserError
from tests.test_distributed_runs import Run, uda_ranks
from tests.test_engine import _signal_at
from tests.tiny_runs import (
    FEATURE_DISTANCE,
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    TrainedRun,
    assert_same_steps,
    assert_same_training,
    noted_steps,
    only,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')

HALLUCINATION, HOOK = 'model.backbone.style_hallucination_cfg', 'style_hallucination_hook'
SHADE = (
    *FEATURE_DISTANCE, 'uda.source_only=True', 'uda.style_consistency_lambda=10',
    f'{HALLUCINATION}.concentration_coeff=0.25', f'{HALLUCINATION}.base_style_num=4',
    f'{HOOK}.interval=2', f'{HOOK}.samples_per_gpu=3', f'{HOOK}.workers_per_gpu=0',
    'evaluation=None', 'uda.debug_img_interval=0',
)  # fmt: skip
PROTOTYPES = 'model.backbone.style_hallucination.proto_mean'


def run_in(folder, street_scenes, *options, arguments=()):
    """Run in a folder of its own; returns the run, with its steps."""
    (folder / 'data').mkdir(parents=True)
    (folder / 'data/street_scenes').symlink_to(street_scenes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        steps = noted_steps(patch)
        run_experiment(UDA_CONFIG, *options, arguments=arguments)
    return TrainedRun(folder, steps)


@pytest.fixture(scope='module')
def shade_run(tmp_path_factory, street_scenes):
    return run_in(tmp_path_factory.mktemp('shade') / 'run', street_scenes, *SHADE)


def signal_while_picking(patch, call):
    """Let this process get a signal when the styles of so many batches have been computed."""
    original, calls = style_prototypes.image_styles, []

    def image_styles(segmentor, img):
        assert not segmentor.training
        calls.append(img)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(segmentor, img)

    patch.setattr(style_prototypes, 'image_styles', image_styles)
    return calls


@pytest.mark.long
def test_a_run_that_is_stopped_has_the_prototypes_of_one_that_is_not(
    shade_run, workplace, monkeypatch
):
    """Stopped while they are picked, before the first and the third iteration, and after that."""
    steps = noted_steps(monkeypatch)

    def stop(arrange):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_info:
            calls = arrange(patch)
            run_experiment(UDA_CONFIG, *SHADE)
        assert exit_info.value.code == 128 + signal.SIGTERM
        return calls

    # Of eight images there are two batches of three each time.
    assert len(stop(lambda patch: signal_while_picking(patch, 1))) == 1
    assert list(steps) == []
    assert len(stop(lambda patch: signal_while_picking(patch, 3))) == 3
    assert list(steps) == [0, 1]
    stop(lambda patch: _signal_at(patch, 2))
    with monkeypatch.context() as patch:
        calls = signal_while_picking(patch, 0)
        run_experiment(UDA_CONFIG, *SHADE)
    assert calls == []  # the checkpoint has them
    run = TrainedRun(workplace)
    assert_same_training(run, shade_run)
    assert_same_steps(steps, shade_run.steps)
    assert all(step['style.loss_style_consistency'] > 0 for step in steps.values())
    log = Path(only(f'{run.work_dir}/*.log')).read_text()
    assert re.findall(r'(\d): 4 prototypes picked .* of (\d)', log) == [('1', '6'), ('3', '6')]


@pytest.mark.long
def test_other_runs_start_from_a_checkpoint_with_prototypes_and_from_one_without(
    shade_run, tmp_path, street_scenes
):
    weights = shade_run.load()['state_dict']
    assert weights[PROTOTYPES].shape == (4, 32) and len(weights[PROTOTYPES].unique()) > 4
    pth = shade_run.folder / shade_run.checkpoint
    for name, options in (('plain', FEATURE_DISTANCE), ('shade', SHADE)):
        options = (*options, 'runner.max_iters=1', 'evaluation=None')
        run = run_in(tmp_path / name, street_scenes, *options, arguments=['--load-from', str(pth)])
        assert (PROTOTYPES in run.load()['state_dict']) == (name == 'shade')
        pth = run.folder / run.checkpoint


class SignalWhilePicking:
    """Lets a rank get a signal when the styles of so many batches have been computed."""

    def __init__(self, call):
        self.call = call

    def install(self):
        signal_while_picking(pytest.MonkeyPatch(), self.call)


@pytest.mark.long
def test_a_signal_to_one_rank_ends_all_of_them(workplace):
    """While prototypes are picked for the second time, from four images on each rank."""
    options = (*SHADE, f'{HOOK}.samples_per_gpu=1')
    ranks = uda_ranks(workplace, SignalWhilePicking(5), planned_rank=1, options=options)
    assert ranks.end() == [128 + signal.SIGTERM] * 2
    assert sorted(path.name for path in workplace.glob('run/*.pth')) == [
        'latest.pth', 'resume_2.pth',
    ]  # fmt: skip
    assert uda_ranks(workplace, options=options).end() == [0, 0]
    picked = re.findall(r'iteration (\d): 4 proto.* of 8', Run(workplace).log())
    assert picked == ['1', '3']


# Mistakes


def problem(overrides, path=UDA_CONFIG):
    styles = {
        HALLUCINATION: dict(concentration_coeff=0.0156, base_style_num=64),
        HOOK: dict(interval=4000, samples_per_gpu=2, workers_per_gpu=6),
    }
    cfg = load_config(str(path), styles | overrides)
    with pytest.raises(UserError) as error:
        check_keys(cfg, 'config.py')
        check_values(cfg, 'config.py')
    return str(error.value).removeprefix('config config.py: ')


@pytest.mark.parametrize(
    ('overrides', 'says'),
    [
        ({f'{HALLUCINATION}.style_num': 3}, 'did you mean model.backbone.*base_style_num'),
        ({f'{HALLUCINATION}.base_style_num': 0}, 'has to be a whole number above 0'),
        ({f'{HALLUCINATION}.concentration_coeff': 0}, 'has to be a number above 0'),
        ({f'{HALLUCINATION}.style_dim': 64}, 'style_dim is 64, but .* 32 channels: leave'),
        ({HALLUCINATION: dict(base_style_num=4)}, 'concentration_coeff is missing'),
        ({'model.backbone.style_hallucination': {}}, 'style_hallucination_cfg?'),
        ({f'{HOOK}.intervall': 3}, f'did you mean {HOOK}.interval'),
        ({f'{HOOK}.interval': None}, f'{HOOK}.interval is None; it has to be a whole'),
        ({HOOK: None}, f'{HALLUCINATION} and {HOOK} go together: one is missing'),
        ({HALLUCINATION: None}, 'go together: one is missing'),
        ({'style_halucination_hook': {}}, 'did you mean style_hallucination_hook'),
        ({'uda.style_consistency_lambda': -1}, 'has to be a number from 0'),
        ({'uda.style_consistency_lamda': 1}, 'did you mean uda.style_consistency_lambda'),
        ({'uda.share_src_backward': 'no'}, 'has to be True or False'),
        ({'uda.style_consistency_lambda': 10, HALLUCINATION: None, HOOK: None},
         'lambda=10 needs an encoder mit_b0 to mit_b5 with model.backbone.style_hallucination_cfg'),
        ({'uda': dict(type='AdvSeg', _delete_=True)}, "is for uda.type='DACS', with source_only"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_in_configs(overrides, says):
    assert re.search(says.replace('?', r'\?'), problem(overrides))


def test_training_on_labels_alone_hallucinates_no_styles():
    assert "is for uda.type='DACS'" in problem({}, SOURCE_ONLY_CONFIG)
