"""A run is what its folder says: what may change before it resumes, and what makes another run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmseg.engine.checkpoint import link_latest, save_file
from tests.test_engine import _signal_at
from tests.tiny_runs import (
    CHECKOUT,
    FEATURE_DISTANCE,
    SMALL_UDA,
    UDA_CONFIG,
    TrainedRun,
    files_below,
    only,
    run_experiment,
)
from tools.train import main as train_main

pytestmark = pytest.mark.usefixtures('one_thread')

HARMLESS = (
    'data.workers_per_gpu=1', 'model.backbone.with_cp=True', 'log_config.interval=1',
    'checkpoint_config.interval=2', 'uda.debug_img_interval=0', 'evaluation.interval=4',
)  # fmt: skip


@pytest.fixture
def unfinished(copied_run):
    """A run that was killed after three of its iterations."""
    content = copied_run.load()
    content['meta']['iter'] = 3
    os.remove(f'{copied_run.work_dir}/iter_4.pth')
    save_file(content, f'{copied_run.work_dir}/resume_3.pth')
    link_latest(f'{copied_run.work_dir}/resume_3.pth')
    return copied_run


@pytest.fixture
def started(monkeypatch):
    """The names of the runs that run_experiments.py wants to train; it trains none."""
    names = []
    monkeypatch.setattr('mmseg.engine.run.train', lambda cfg, *_: names.append(cfg.name))
    return names


def train_here(work_dir, *options):
    options = (*SMALL_UDA, *FEATURE_DISTANCE, *options)
    train_main([str(UDA_CONFIG), '--work-dir', work_dir, '--cfg-options', *options])


def config_in(run):
    return json.loads(Path(run.config).read_text())


def log_of(run):
    return Path(only(f'{run.work_dir}/2*.log')).read_text()


# What does not change results


def test_resume_with_other_workers_and_intervals(workplace, trained_run, monkeypatch):
    monkeypatch.chdir(workplace)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        _signal_at(patch, 1, signal.SIGTERM)
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    run = TrainedRun(workplace)
    name, revision = (config_in(run)[key] for key in ('name', 'git_rev'))

    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, *HARMLESS)
    assert TrainedRun(workplace).work_dir == run.work_dir
    (line,) = re.findall('Resuming with (.*)', log_of(run))
    assert line.split('; ') == [
        'log_config.interval: 2 → 1', 'model.backbone.with_cp: (missing) → True',
        'data.workers_per_gpu: 0 → 1', 'uda.debug_img_interval: 2 → 0',
        'checkpoint_config.interval: 650 → 2', 'evaluation.interval: 2 → 4',
    ]  # fmt: skip
    config = config_in(run)
    assert config['data']['workers_per_gpu'] == 1 and config['log_config']['interval'] == 1
    assert (config['name'], config['git_rev']) == (name, revision)
    assert [entry['iter'] for entry in run.log('train')] == [2, 3, 4]
    expected = trained_run.load()['state_dict']
    for name, value in run.load()['state_dict'].items():
        assert torch.equal(value, expected[name]), name


def test_train_takes_changed_values_too(unfinished, monkeypatch):
    trained = []
    monkeypatch.setattr('mmseg.engine.run.train', lambda *given: trained.append(given))
    train_here(unfinished.work_dir, *HARMLESS)
    ((cfg, _, changes),) = trained
    assert cfg.data.workers_per_gpu == 1 and cfg.model.backbone.with_cp is True
    assert cfg.name == unfinished.name and 'data.workers_per_gpu: 0 → 1' in changes
    assert config_in(unfinished)['data']['workers_per_gpu'] == 1


@pytest.mark.parametrize(
    'option', [*HARMLESS, 'n_gpus=2', 'scale_lr=False', 'uda.blur=True', 'log_level=DEBUG',
               'find_unused_parameters=True', 'name_opt=adam', 'data.train.resized_dir=kept',
               'optimizer.amsgrad=False', 'speed.accumulate=2'],
)  # fmt: skip
def test_finished_run_stays_finished(trained_run, started, capsys, option):
    before = files_below('.')
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, option)
    assert f'This run is finished: {trained_run.work_dir}' in capsys.readouterr().out
    assert not started and files_below('.') == before


def test_default_that_a_later_release_states(unfinished, started, tmp_path, capsys):
    """An option that absence already meant, in a base of the config."""
    later = tmp_path / 'uda_mitb0.py'
    later.write_text(
        f"_base_ = ['{UDA_CONFIG}']\n"
        'scale_lr = False\n'
        'uda = dict(color_jitter_strength=0.2)\n'
        'model = dict(backbone=dict(with_cp=False), decode_head=dict(dropout_ratio=0.1))\n'
        'speed = dict(amp=None)\nlr_config = dict(min_lr=0.0)\n'
        'optimizer = dict(amsgrad=False)\nnew_setting = None\n'
        'optimizer_config = dict(grad_clip=None)\n'
    )
    from daformer_runs.same_run import compare_to_resume
    from mmseg.engine.config import as_dict, load_config

    one, other = (as_dict(load_config(str(path))) for path in (UDA_CONFIG, later))
    del one['uda']['color_jitter_strength'], one['speed']
    assert compare_to_resume(one, other) == compare_to_resume(other, one) == ({}, {})
    different = {**other, 'uda': {**other['uda'], 'color_jitter_strength': 0.3}}
    assert list(compare_to_resume(one, different)[0]) == ['uda.color_jitter_strength']


def test_default_of_a_decoder_layer_that_a_later_release_states():
    from daformer_runs.same_run import compare

    def config(**options):
        layer = {'type': 'conv', 'kernel_size': 1, **options}
        head = {'type': 'DAFormerHead', 'decoder_params': {'fusion_cfg': layer}}
        return {'model': {'decode_head': head}}

    assert compare(config(), config(norm_cfg=None)) == ({}, {})
    (key,) = compare(config(), config(norm_cfg='BN'))[0]
    assert key == 'model.decode_head.decoder_params.fusion_cfg.norm_cfg'


def test_moved_data_and_weights(tmp_path, monkeypatch):
    from daformer_runs.same_run import compare

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'disk/gta').mkdir(parents=True)
    (tmp_path / 'disk/mit_b5.pth').touch()

    def config(root, weights):
        return {'data': {'train': {'data_root': root}}, 'model': {'pretrained': weights}}

    old = config('data/gta/', 'pretrained/mit_b5.pth')
    moved = config(f'{tmp_path}/disk/gta', 'disk/mit_b5.pth')
    assert compare(old, moved)[0] == {} and len(compare(old, moved)[1]) == 2
    assert len(compare(old, config('disk/gta2', 'mit_b0.pth'))[0]) == 2
    # Both are there: the data of two towns, perhaps.
    (tmp_path / 'data/gta').mkdir(parents=True)
    assert list(compare(old, moved)[0]) == ['data.train.data_root']
    assert compare(old, config(f'{tmp_path}/data/gta', 'pretrained/mit_b5.pth'))[0] == {}


def test_moved_folders_of_images(tmp_path, monkeypatch):
    from daformer_runs.same_run import compare

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'new/gta/images').mkdir(parents=True)

    def config(folder):
        return {'data': {'train': {'source': {'img_dir': folder}}}, 'load_from': None}

    new = config(f'{tmp_path}/new/gta/images')
    assert compare(config('/old/gta/images'), new)[0] == {}
    assert list(compare(config('/old/synthia/images'), new)[0]) == ['data.train.source.img_dir']


def test_folders_below_their_root_or_absolute(tmp_path, monkeypatch):
    from daformer_runs.same_run import compare

    monkeypatch.chdir(tmp_path)
    for folder in ('data/gta/images', 'data/gta/labels', 'data/gta_2/images'):
        (tmp_path / folder).mkdir(parents=True)

    def config(root='data/gta', img_dir='images', ann_dir='labels'):
        source = {'type': 'GTADataset', 'data_root': root, 'img_dir': img_dir, 'ann_dir': ann_dir}
        return {'data': {'train': {'type': 'UDADataset', 'source': source}}}

    whole = f'{tmp_path}/data/gta'
    for same in (
        config(whole), config('data/gta/'), config(img_dir=f'{whole}/images'),
        config(whole, f'{whole}/images', f'{whole}/labels'), config(img_dir='../gta/images/'),
    ):  # fmt: skip
        assert compare(config(), same)[0] == compare(same, config())[0] == {}
    for other in ('labels', '../gta_2/images', f'{whole}_2/images'):
        assert list(compare(config(), config(img_dir=other))[0]) == ['data.train.source.img_dir']


# What makes another run


@pytest.mark.parametrize(
    ('option', 'says'),
    [
        ('optimizer.lr=0.001', 'optimizer.lr: 0.004 → 0.001'),
        ('data.samples_per_gpu=1', 'data.samples_per_gpu × n_gpus: 2 → 1'),
        ('seed=3', 'seed: 0 → 3'),
        ('uda.blur=False', 'uda.blur: True → False'),
        ('speed.amp=bf16', 'speed.amp: None → bf16'),
        ('runner.max_iters=6', 'runner.max_iters: 4 → 6'),
        ('scale_lr=True', 'scale_lr: (missing) → True'),
        (
            'data.train.source.pipeline.3.cat_max_ratio=0.5',
            'data.train.source.pipeline.3.cat_max_ratio: 0.75 → 0.5',
        ),
    ],
)
def test_what_differs_is_shown(unfinished, started, capsys, option, says):
    before = files_below('.')
    with pytest.raises(SystemExit, match='with other settings') as exit_info:
        train_here(unfinished.work_dir, option)
    assert says in exit_info.value.code and '--work-dir' in exit_info.value.code
    with pytest.raises(SystemExit, match='holds another run') as exit_info:
        run_experiment(
            UDA_CONFIG, *FEATURE_DISTANCE, option, arguments=['--work-dir', unfinished.work_dir]
        )
    assert says in exit_info.value.code
    assert files_below('.') == before and not started
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, option)
    shown = capsys.readouterr().out
    assert f'{unfinished.work_dir} is another run: {says}' in shown
    assert len(started) == 1 and unfinished.name not in started[0]


def test_run_without_checkpoints_starts_again_with_other_settings(unfinished, monkeypatch):
    """As after a first iteration for which the memory was too small."""
    os.remove(f'{unfinished.work_dir}/resume_3.pth')
    Path(unfinished.work_dir, 'code.tar.gz').write_bytes(b'of the first start')
    trained = []
    monkeypatch.setattr('mmseg.engine.run.train', lambda *given: trained.append(given))
    train_here(unfinished.work_dir, 'data.samples_per_gpu=1')
    ((cfg, _, changes),) = trained
    assert cfg.data.samples_per_gpu == 1 and changes == ''
    assert json.loads(Path(only(f'{unfinished.work_dir}/street*.json')).read_text())['data'][
        'samples_per_gpu'
    ] == 1  # fmt: skip
    assert not os.path.exists(unfinished.config)
    assert Path(unfinished.work_dir, 'code.tar.gz').read_bytes() != b'of the first start'


def test_given_config_in_the_folder_of_the_run_is_not_replaced(unfinished, monkeypatch):
    """What is given may be the config of a start that saved nothing, or one with bases."""
    os.remove(f'{unfinished.work_dir}/resume_3.pth')
    monkeypatch.setattr('mmseg.engine.run.train', lambda *given: None)
    before = Path(unfinished.config).read_text()
    with pytest.raises(SystemExit, match=r'optimizer.lr: 0.004 → 0.01'):
        train_main([unfinished.config, '--work-dir', unfinished.work_dir,
                    '--cfg-options', 'optimizer.lr=0.01'])  # fmt: skip
    assert Path(unfinished.config).read_text() == before
    stated = Path(unfinished.work_dir, 'stated.json')
    stated.write_text(json.dumps({'_base_': [str(UDA_CONFIG)], 'name': 'stated'}))
    os.remove(unfinished.config)
    with pytest.raises(SystemExit, match=r'stated.json is there and no config of a run'):
        train_main([str(stated), '--work-dir', unfinished.work_dir,
                    '--cfg-options', *SMALL_UDA, *FEATURE_DISTANCE])  # fmt: skip
    assert '_base_' in stated.read_text()


def test_checkpoints_without_the_config_of_their_run(unfinished):
    os.rename(unfinished.config, f'{unfinished.work_dir}/renamed.json')
    with pytest.raises(SystemExit, match=r'resume_3.pth, but not the config of its run'):
        train_here(unfinished.work_dir)


def test_the_run_that_differs_least_is_shown(unfinished, started, capsys):
    other = f'{os.path.dirname(unfinished.work_dir)}/240101_1200_other_00000'
    shutil.copytree(unfinished.work_dir, other, symlinks=True)
    config = config_in(unfinished)
    os.remove(f'{other}/{unfinished.name}.json')
    config['name'], config['optimizer']['lr'] = '240101_1200_other_00000', 0.1
    name = os.path.basename(unfinished.config).split('_', 2)[-1].rsplit('_', 1)[0]
    moved = f'{os.path.dirname(other)}/240101_1200_{name}_00000'
    os.rename(other, moved)
    config['name'] = os.path.basename(moved)
    Path(moved, f'{config["name"]}.json').write_text(json.dumps(config))
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, 'uda.blur=False')
    assert (
        f'{unfinished.work_dir} is another run: uda.blur: True → False' in capsys.readouterr().out
    )


def test_checkpoint_of_another_network_in_the_folder(unfinished):
    content = unfinished.load()
    content['state_dict'].popitem()
    save_file(content, f'{unfinished.work_dir}/resume_9.pth')
    with pytest.raises(SystemExit, match=r'resume_9.pth does not fit '):
        train_here(unfinished.work_dir)


def test_batch_split_over_processes_and_micro_batches(unfinished, monkeypatch):
    from daformer_runs.same_run import compare, compare_to_resume

    one = config_in(unfinished)
    split = {**one, 'n_gpus': 2, 'data': {**one['data'], 'samples_per_gpu': 1}}
    assert compare(one, split)[0] == {}
    more = {**one, 'n_gpus': 2}
    assert compare(one, more)[0] == {'data.samples_per_gpu × n_gpus': (2, 4)}
    assert compare_to_resume(one, more)[0] == {}
    assert compare_to_resume(one, more)[1]['data.samples_per_gpu × n_gpus'] == (2, 4)


def test_folder_keeps_the_batch_that_its_run_began_with(unfinished, monkeypatch):
    """Also where fewer processes with more images each keep it; every such command resumes."""
    monkeypatch.setattr('mmseg.engine.run.check_is_launched', lambda *given: None)
    trained = []
    monkeypatch.setattr('mmseg.engine.run.train', lambda *given: trained.append(given[0]))
    one = config_in(unfinished)
    began = {**one, 'n_gpus': 2, 'data': {**one['data'], 'samples_per_gpu': 1}}
    Path(unfinished.config).write_text(json.dumps(began))
    for n_gpus, samples in ((1, 2), (2, 1), (1, 1), (2, 1)):
        train_here(unfinished.work_dir, f'n_gpus={n_gpus}', f'data.samples_per_gpu={samples}')
        assert trained[-1].data.samples_per_gpu == samples
        there = config_in(unfinished)
        assert (there['n_gpus'], there['data']['samples_per_gpu']) == (2, 1)


def test_every_setting_is_known_to_change_results_or_not():
    """A key at the top level that the list does not know would change a run silently."""
    from daformer_runs.same_run import _SECTIONS
    from mmseg.engine.checks.config import SETTINGS

    harmless = {
        *('name', 'exp', 'work_dir', 'git_rev', 'resume_from', 'log_level', 'n_gpus'),
        *('name_dataset', 'name_architecture', 'name_encoder', 'name_decoder', 'name_uda'),
        *('name_opt', 'gpu_model'),
        *('cudnn_benchmark', 'deterministic'),  # which kernels compute
        *('use_ddp_wrapper', 'find_unused_parameters'),  # how processes compute
        *('classes', 'palette'),  # stand in the data sets
    }
    assert harmless | (_SECTIONS & SETTINGS) == SETTINGS and not harmless & _SECTIONS


# Other files in the folder


def test_foreign_files_in_the_folder(unfinished, monkeypatch):
    from tools import collect_results

    folder = Path(unfinished.work_dir)
    (folder / 'train.log').write_text('what tee writes')
    (folder / 'x.json').write_text('{"iter": 4, "classes": [], "confusion": []}')
    (folder / 'figures.json').write_text('no json')
    shutil.copy(unfinished.config, folder / 'another.json')
    (folder / 'other.log.json').write_text('{"mode": "train"}\n')
    (folder / 'folder.json').mkdir()
    (folder / 'gone.json').symlink_to('nowhere.json')
    foreign = ['train.log', 'x.json', 'figures.json', 'another.json', 'other.log.json']
    before = {name: (folder / name).read_bytes() for name in foreign}
    logs = len(list(folder.glob('*.log*')))
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert before == {name: (folder / name).read_bytes() for name in foreign}
    assert len(list(folder.glob('*.log*'))) == logs
    (found,) = collect_results.read_results([unfinished.work_dir])
    assert found.is_finished

    result = subprocess.run(
        ['sh', CHECKOUT / 'test.sh', unfinished.work_dir],
        env={**os.environ, 'PYTHON': sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f'mIoU: {found.metrics["mIoU"]:.2f}' in result.stdout


def test_configs_of_two_runs(unfinished):
    config = {**config_in(unfinished), 'name': 'another'}
    (Path(unfinished.work_dir) / 'another.json').write_text(json.dumps(config))
    with pytest.raises(SystemExit, match=r'holds several configs: .*another\.json'):
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)


@pytest.mark.parametrize('meta', [{'iter': 9}, None, {}])
def test_checkpoint_of_other_code_in_the_folder(unfinished, monkeypatch, meta):
    state = {'state_dict': {}, 'optimizer': {}, 'meta': meta}
    torch.save(state, f'{unfinished.work_dir}/iter_9.pth')
    train_here(unfinished.work_dir)
    assert f'{unfinished.work_dir}/iter_9.pth holds no state of this code' in log_of(unfinished)
    assert unfinished.load()['meta']['iter'] == 4
