"""A run from its first iteration to its files, and that stopping it changes nothing."""

import json
import os
import re
import shutil
import signal

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny_runs import (
    FEATURE_DISTANCE,
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    TrainedRun,
    assert_same_steps,
    assert_same_training,
    files_below,
    noted_steps,
    only,
    predict_image,
    records_in,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')


def test_run_leaves_its_files(trained_run):
    generated = only(f'configs/generated/local-street_scenes/{trained_run.name}.json')
    with open(generated) as file:
        child = json.load(file)
    assert child['name'] == trained_run.name and child['work_dir'] == trained_run.work_dir
    assert child['runner'] == {'max_iters': 4}
    base = os.path.join(os.path.dirname(generated), child['_base_'][0])
    assert os.path.samefile(base, UDA_CONFIG)
    assert re.fullmatch(r'\d{6}_\d{4}_street_scenes_.+_[0-9a-f]{5}', trained_run.name)

    names = {str(path.relative_to(trained_run.work_dir)) for path in files_below('work_dirs')}
    logs = {name for name in names if '.log' in name or name.startswith('tf_logs/')}
    assert {os.path.splitext(name)[1] for name in logs if '.log' in name} == {'.log', '.json'}
    assert any('events.out' in name for name in logs)
    assert names - logs == {
        f'{trained_run.name}.json',
        '.lock',
        'code.tar.gz',
        'iter_4.pth',
        'latest.pth',
        'evaluation/rare_class_sampling.json',
        *(f'evaluation/iter_00000{i}.json' for i in (2, 4)),
        *(f'evaluation/iter_00000{i}_{image}.png' for i in (2, 4) for image in (0, 1, 2)),
        *(f'class_mix_debug/00000{i}_{image}.png' for i in (1, 3) for image in (0, 1)),
    }
    assert os.readlink(trained_run.checkpoint) == 'iter_4.pth'


def test_log_has_the_losses_of_the_method(trained_run):
    train = trained_run.log('train')
    assert [entry['iter'] for entry in train] == [2, 4]
    losses = {name for name in train[0] if '.' in name}
    assert losses == {
        'decode.loss_ce', 'decode.acc_seg', 'src.loss_imnet_feat_dist',
        'mix.decode.loss_ce', 'mix.decode.acc_seg',
    }  # fmt: skip
    for entry in train:
        terms = sum(value for name, value in entry.items() if '.loss_' in name)
        assert entry['loss'] == pytest.approx(terms, abs=1e-3)  # the log rounds
    assert all(np.isfinite(entry[name]) for entry in train for name in losses)


def test_student_is_evaluated_in_the_intervals(trained_run):
    val = trained_run.log('val')
    assert [entry['iter'] for entry in val] == [2, 4]
    assert all(0 <= entry['mIoU'] <= 1 and 'IoU.traffic light' in entry for entry in val)


def test_text_log_is_short(trained_run):
    with open(only(f'{trained_run.work_dir}/*.log')) as file:
        text = file.read()
    # Two evaluations have a table of about 30 lines each.
    assert len(text.splitlines()) < 90
    assert 'Iter [4/4]' in text
    (shares,) = (line for line in text.splitlines() if 'Rare Class Sampling' in line)
    assert re.search(r'motorcycle: 0\.0\d%, 1\d\.\d\d%, .*road: 2\d\.\d\d%, 0\.00%', shares)


def test_checkpoint_is_plain_and_complete(trained_run):
    content = trained_run.load()
    names = {name.split('.')[0] for name in content['state_dict']}
    assert names == {'model', 'ema_model', 'imnet_model'}
    assert 'imnet_model.backbone.patch_embed1.proj.weight' in content['state_dict']
    assert not any(name.startswith('imnet_model.decode_head') for name in content['state_dict'])
    meta = content['meta']
    assert meta['iter'] == 4 and meta['seed'] == 0 and meta['CLASSES'][18] == 'bicycle'
    assert json.loads(meta['config'])['runner']['max_iters'] == 4


def test_stopped_run_goes_on_as_if_it_had_not_stopped(workplace, monkeypatch, trained_run, capsys):
    """In the first iteration, right at an evaluation, between evaluations and in the last one.

    An evaluation that is due then is made up by the next command.
    """
    monkeypatch.chdir(workplace)
    steps = noted_steps(monkeypatch)
    for iteration, number in enumerate((signal.SIGTERM, signal.SIGINT) * 2):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_info:
            _signal_at(patch, iteration, number)
            run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
        assert exit_info.value.code == 128 + number
        printed = capsys.readouterr()
        assert 'The same command resumes' in printed.out
        # mmcv's list of how each parameter was initialised has hundreds of lines.
        assert 'Training on cpu' in printed.err and 'init_weights' not in printed.err
        run = TrainedRun(workplace)  # one run, whichever command of them
        assert os.readlink(run.checkpoint) == f'resume_{iteration + 1}.pth'
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    printed = capsys.readouterr().out
    assert f'Resuming {run.work_dir}' in printed and 'Finished' in printed
    assert_same_training(run, trained_run)
    assert_same_steps(steps, trained_run.steps)
    assert not list((workplace / run.work_dir).glob('resume_*'))
    logged = [{k: v for k, v in e.items() if '.' in k} for e in run.log('train')]
    assert logged == [{k: v for k, v in e.items() if '.' in k} for e in trained_run.log('train')]
    assert [entry['mIoU'] for entry in run.log('val')] == [
        entry['mIoU'] for entry in trained_run.log('val')
    ]
    expected = records_in(trained_run.folder / trained_run.work_dir)
    assert records_in(run.work_dir) == expected


def test_resume_from_a_file(copied_run, monkeypatch, shared_run, capsys):
    """Another folder goes on from a run's state; the same command once more, from its own."""
    from tools import train

    shutil.move(copied_run.config, 'config.json')
    shutil.rmtree('work_dirs')
    other = 'work_dirs/local/other'
    command = ['config.json', '--work-dir', other, '--resume-from', 'one/resume_1.pth']
    for iteration, argv in ((0, ['config.json', '--work-dir', 'one']), (2, command)):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            _signal_at(patch, iteration)
            train.main(argv)
    steps = noted_steps(monkeypatch)
    train.main(command)
    assert list(steps) == [3]
    with open(only(f'{other}/*.log')) as file:
        assert f'{other}/resume_3.pth is more advanced than one/resume_1.pth' in file.read()
    assert_same_training(TrainedRun(copied_run.folder), shared_run)
    capsys.readouterr()
    os.remove(f'{other}/.lock')
    before = {path: path.stat().st_mtime_ns for path in files_below(other)}
    train.main(command)
    assert capsys.readouterr().out == f'This run is finished: {other}\n'
    os.remove(f'{other}/.lock')
    assert before == {path: path.stat().st_mtime_ns for path in files_below(other)}


def test_damaged_state_is_passed_over(copied_run, monkeypatch, shared_run):
    """A run whose newest state is broken goes on from the one before it."""
    os.remove(f'{copied_run.work_dir}/iter_4.pth')
    os.remove(copied_run.checkpoint)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        _signal_at(patch, 2)
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    with open(f'{copied_run.work_dir}/resume_3.pth', 'r+b') as file:
        file.truncate(1000)
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    with open(only(f'{copied_run.work_dir}/*.log')) as file:
        assert 'resume_3.pth is no checkpoint' in file.read()
    assert_same_training(copied_run, shared_run)


def test_going_on_under_other_versions_is_warned_of(copied_run):
    content = copied_run.load()
    content['meta'].update(iter=3, environment={**content['meta']['environment'], 'torch': '1.7'})
    torch.save(content, f'{copied_run.work_dir}/resume_3.pth')
    os.remove(f'{copied_run.work_dir}/iter_4.pth')
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    with open(only(f'{copied_run.work_dir}/*.log')) as file:
        assert re.search(r"WARNING .*'torch': '1\.7'.*will not be bit-identical", file.read())


def test_rates_follow_iterations_whatever_the_config_leaves_out(workplace):
    (workplace / 'leaf.py').write_text(
        f'_base_ = [{str(UDA_CONFIG)!r}]\n'
        "lr_config = dict(_delete_=True, policy='poly', min_lr=0.0)\n"
        "log_config = dict(_delete_=True, interval=1, hooks=[dict(type='TextLoggerHook')])\n"
    )
    run_experiment('leaf.py', 'log_config.interval=1')
    rates = [entry['lr'] for entry in TrainedRun(workplace).log('train')]
    assert rates == pytest.approx([4e-3, 3e-3, 2e-3, 1e-3], rel=0.01)
    with open(only('work_dirs/*/*/*.log')) as file:
        assert 'Iter [4/4]' in file.read()


def test_without_evaluation_no_validation_set_is_needed(own_data):
    shutil.rmtree(own_data / 'cityscapes/gtFine/val')
    run_experiment(UDA_CONFIG, 'evaluation=None', 'runner.max_iters=1')
    assert os.path.isfile(only('work_dirs/*/*/iter_1.pth'))


def test_a_run_that_goes_on_needs_no_weights_from_elsewhere(copied_run, monkeypatch):
    """What it once started from may be gone, such as the state that `--resume-from` named."""
    from tools import train

    content = copied_run.load()
    content['meta']['iter'] = 3
    torch.save(content, f'{copied_run.work_dir}/resume_3.pth')
    os.remove(f'{copied_run.work_dir}/iter_4.pth')
    train.main([copied_run.config, '--work-dir', copied_run.work_dir, '--resume-from', 'gone.pth'])
    assert os.path.isfile(f'{copied_run.work_dir}/iter_4.pth')


def test_full_memory_is_one_line(workplace, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.\nMore.')

    monkeypatch.setattr('mmseg.engine.run.train', full)
    with pytest.raises(SystemExit, match=r'^Error: the memory of cpu is full \(CUDA[^\n]*$'):
        run_experiment(UDA_CONFIG)


def test_source_only_run_starts_a_uda_run(workplace, monkeypatch):
    from mmseg.models.uda.dacs import DACS

    run_experiment(SOURCE_ONLY_CONFIG, 'runner.max_iters=2')
    source_only = TrainedRun(workplace)
    weights = source_only.load()['state_dict']
    assert 'decode_head.conv_seg.weight' in weights
    started = []

    def look(self, batch, optimizer, *, step):
        started.append([dict(network.state_dict()) for network in (self.model, self.ema_model)])
        return dict(log_vars={'decode.loss_ce': 0.0}, num_samples=2)

    monkeypatch.setattr(DACS, 'train_step', look)
    arguments = ['--load-from', source_only.checkpoint, '--work-dir', 'uda']
    run_experiment(UDA_CONFIG, 'runner.max_iters=1', arguments=arguments)
    for network in started[0]:
        assert list(network) == list(weights)
        assert all(torch.equal(network[name], weights[name]) for name in weights)


def test_prediction_is_the_students(trained_run):
    from mmseg.engine.config import load_config
    from mmseg.engine.trained import load_trained

    path = only('data/street_scenes/cityscapes/leftImg8bit/val/*/*_000001_*.png')
    cfg = load_config(trained_run.config)
    segmentor = load_trained(cfg, trained_run.checkpoint, torch.device('cpu'))
    expected = trained_run.predict(cv2.imread(path))
    np.testing.assert_array_equal(predict_image(segmentor, cfg, path), expected)


@pytest.mark.parametrize('to_label_id', [True, False])
def test_id_maps_hold_the_ids_that_the_servers_take(tmp_path, to_label_id):
    from mmseg.datasets import CityscapesDataset
    from mmseg.engine.predictions import write_id_map

    train_ids = np.arange(19, dtype=np.uint8).reshape(1, 19)
    path = tmp_path / 'folder' / 'map.png'
    write_id_map(train_ids, str(path), to_label_id, CityscapesDataset.PALETTE, origin='a run')
    labels = [cityscapes_labels.trainId2label[i] for i in range(19)]
    with Image.open(path) as picture:
        ids = [label.id for label in labels] if to_label_id else list(range(19))
        assert np.asarray(picture).tolist() == [ids]
        colors = np.asarray(picture.convert('RGB'))[0]
    assert colors.tolist() == [list(label.color) for label in labels]
    assert os.listdir(path.parent) == ['map.png']


def test_failed_write_leaves_the_old_checkpoint(tmp_path):
    from mmseg.engine.checkpoint import save_file

    class Unwritable:
        def __reduce__(self):
            raise TypeError('never written')

    path = str(tmp_path / 'iter_1.pth')
    save_file({'a': torch.ones(1)}, path)
    with pytest.raises(TypeError, match='never written'):
        save_file({'a': Unwritable()}, path)
    assert torch.load(path, weights_only=True)['a'].item() == 1
    assert os.listdir(tmp_path) == ['iter_1.pth']


def test_moved_run_goes_on_where_it_is(copied_run, monkeypatch):
    os.remove(f'{copied_run.work_dir}/iter_4.pth')
    os.remove(copied_run.checkpoint)
    shutil.move(copied_run.work_dir, 'elsewhere')
    run_experiment(
        UDA_CONFIG, *FEATURE_DISTANCE, arguments=['--work-dir', 'elsewhere', '--device', 'cpu']
    )
    assert os.path.isfile('elsewhere/iter_4.pth')
    assert not os.path.exists(copied_run.work_dir)


def _signal_at(patch, iteration, number=signal.SIGTERM):
    """Let this process get a signal in the middle of an iteration (from 0)."""
    from mmseg.models.uda.dacs import DACS

    original = DACS.train_step

    def train_step(self, batch, optimizer, *, step):
        if step.iteration == iteration:
            os.kill(os.getpid(), number)
        return original(self, batch, optimizer, step=step)

    patch.setattr(DACS, 'train_step', train_step)
