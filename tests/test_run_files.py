"""The files of a run: one process at a time writes them, whole, and the last good one stays."""

import contextlib
import errno
import io
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch

from mmseg.engine import checkpoint
from mmseg.engine.checkpoint import (
    load_file,
    newest_loadable,
    prune_resume_states,
    save_file,
)
from mmseg.engine.run_start import locked
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError
from tests.tiny_runs import (
    FEATURE_DISTANCE,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    files_below,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')

RUN = 'work_dirs/local-street_scenes/run'


# One process at a time


@contextlib.contextmanager
def held_elsewhere(folder):
    """Another process that holds a folder and is killed; its data worker lives a little longer."""
    worker_id, to_tell = os.pipe()
    process = os.fork()
    if process == 0:
        with locked(folder):
            if os.fork() == 0:
                os.write(to_tell, str(os.getpid()).encode())
            signal.pause()
    worker = int(os.read(worker_id, 10))
    yield process
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with locked(folder):  # a kill -9 frees the folder at once
        os.kill(worker, signal.SIGKILL)


def test_second_run_in_a_folder_is_refused(copied_run):
    os.remove(f'{copied_run.work_dir}/iter_4.pth')  # as if it were under way
    with held_elsewhere(copied_run.work_dir) as process:
        before = files_below('.')
        with pytest.raises(SystemExit) as exit_info:
            run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
        assert files_below('.') == before
    message = exit_info.value.code
    assert message.startswith(f'Error: process {process} on ') and '\n' not in message
    assert f'is training in {copied_run.work_dir}. Wait' in message


def test_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with locked(tmp_path):
        assert 'No locks available' in capsys.readouterr().out


# Whole files


def test_full_disk_and_max_keep_ckpts(workplace, monkeypatch, trained_run):
    """With one checkpoint to keep, the second last one stays until the last one is whole."""
    from mmseg.models.uda.dacs import DACS

    monkeypatch.chdir(workplace)
    options = ['checkpoint_config.interval=1', 'checkpoint_config.max_keep_ckpts=1']
    arguments = ['--work-dir', RUN]
    original = DACS.train_step

    def train_step(self, batch, optimizer, *, step):
        if step.iteration == 2:
            # What is written here meets a full disk, as the system has one for such tests.
            os.symlink('/dev/full', f'{RUN}/.iter_3.pth.part')
        return original(self, batch, optimizer, step=step)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_info:
        patch.setattr(DACS, 'train_step', train_step)
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, *options, arguments=arguments)
    assert exit_info.value.code == (
        f'Error: {workplace}/{RUN}/iter_3.pth cannot be written ([Errno 28] No space left on '
        'device). Make room there; what was there before is unchanged.'
    )
    assert checkpoints() == ['iter_2.pth', 'latest.pth', 'resume_2.pth']
    assert load_file(f'{RUN}/latest.pth')['meta']['iter'] == 2
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, *options, arguments=arguments)
    assert checkpoints() == ['iter_4.pth', 'latest.pth']
    assert_same_training(TrainedRun(workplace), trained_run)


def checkpoints():
    """The names of the checkpoints of a run, of unfinished ones, too."""
    return sorted(name for name in os.listdir(RUN) if '.pth' in name)


@pytest.mark.parametrize('number', [errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize('write', [save_file, lambda content, path: write_text(path, 'text')])
def test_where_nothing_can_be_written(tmp_path, monkeypatch, number, write):
    path = str(tmp_path / 'iter_1.pth')
    save_file({'a': torch.ones(1)}, path)

    def refuse(path, *_, **__):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr('mmseg.utils.files.open', refuse, raising=False)
    with pytest.raises(UserError, match=rf'{path} cannot be written .*{os.strerror(number)}'):
        write({'a': torch.zeros(1)}, path)
    assert os.listdir(tmp_path) == ['iter_1.pth'] and load_file(path)['a'] == 1


def test_disk_that_fills_up_in_the_middle_of_a_checkpoint(tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, data):
            if self.tell() > 1000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr('mmseg.utils.files.open', FullDisk, raising=False)
    with pytest.raises(UserError, match=r'iter_1\.pth cannot be written .*Make room'):
        save_file({'a': torch.ones(10_000)}, str(tmp_path / 'iter_1.pth'))
    assert os.listdir(tmp_path) == []


def test_work_dir_that_is_a_file(workplace):
    (workplace / 'file').write_text('')
    with pytest.raises(SystemExit, match=r'Error: file/\.lock cannot be written .*Choose a'):
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, arguments=['--work-dir', 'file'])


# The last good one


def test_resume_state_is_written_every_few_minutes(monkeypatch):
    """With a minute per iteration and no evaluation, a kill loses at most eleven iterations."""
    clock = SimpleNamespace(now=0)
    monkeypatch.setattr(checkpoint, 'time', SimpleNamespace(monotonic=lambda: clock.now))
    saved = []
    hook = checkpoint.ResumeStateHook(evaluation=None)
    for iteration in range(34):
        clock.now += 60
        hook.after_train_iter(SimpleNamespace(iter=iteration, save_resume_state=saved.append))
    assert saved == [11, 22, 33]


def test_only_older_resume_states_are_removed(tmp_path):
    """9 was damaged and passed over: it does not count as one of the two newest."""
    for iteration in (1, 2, 3, 9):
        save_file({}, str(tmp_path / f'resume_{iteration}.pth'))
    prune_resume_states(str(tmp_path), 3, kept=2)
    assert sorted(os.listdir(tmp_path)) == ['resume_2.pth', 'resume_3.pth', 'resume_9.pth']


def test_checkpoint_without_optimizer_is_not_resumed_from(tmp_path):
    meta = {'iter': 3, 'log_window': {}}
    save_file({'state_dict': {}, 'optimizer': {}, 'meta': meta}, str(tmp_path / 'resume_3.pth'))
    save_file({'state_dict': {}, 'meta': meta}, str(tmp_path / 'iter_4.pth'))
    warnings = []
    path, _ = newest_loadable(str(tmp_path), warnings.append)
    assert len(warnings) == 1 and 'iter_4.pth holds no state' in warnings[0]
    assert path == str(tmp_path / 'resume_3.pth')


def test_run_killed_before_it_tidied_up_is_tidied_up(copied_run, shared_run, capsys):
    shutil.copy(f'{copied_run.work_dir}/iter_4.pth', f'{copied_run.work_dir}/resume_3.pth')
    os.remove(copied_run.checkpoint)
    os.symlink('resume_3.pth', copied_run.checkpoint)
    open(f'{copied_run.work_dir}/.resume_1.pth.part', 'w').close()
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert os.readlink(copied_run.checkpoint) == 'iter_4.pth'
    assert not [name for name in os.listdir(copied_run.work_dir) if 'resume' in name]
    assert copied_run.log('train') == shared_run.log('train')
    capsys.readouterr()
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert 'This run is finished' in capsys.readouterr().out


def test_finished_run_with_a_truncated_checkpoint_goes_on(copied_run, monkeypatch, capsys):
    with open(f'{copied_run.work_dir}/iter_4.pth', 'r+b') as file:
        file.truncate(1_000_000)
    monkeypatch.setattr('tools.launch.train_run', lambda cfg, device: None)
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert f'Resuming {copied_run.work_dir}' in capsys.readouterr().out
