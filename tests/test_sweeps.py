"""Runs side by side on one machine, and how far they are (stubs of runs train nothing)."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

import run_experiments
from mmseg.utils.user_error import UserError
from tests.stub_training import stub
from tests.test_experiment_runs import runs, tiny_experiment
from tests.tiny_runs import CHECKOUT, run_python
from tools.processes import Children, Training, run_all, slots_for, train_with_torchrun
from tools.status import show_status

GROUP = 'local-exp7'


def slots(number):
    return [{'CUDA_VISIBLE_DEVICES': str(i)} for i in range(number)]


# Running them


def test_every_run_is_trained_on_its_slot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trainings = [stub(f'run{i}', 'ends') for i in range(5)]
    assert run_all(trainings, slots(2)) == []
    shown = capsys.readouterr().out
    for i in range(5):
        assert f'run{i} starts on GPU' in shown and f'run{i} finished after 0:00:0' in shown
        line = Path(trainings[i].output).read_text().splitlines()[0]
        slot = line.split()[-1]
        assert slot in '01' and f'run{i} starts on GPU {slot}' in shown


def test_no_more_runs_at_a_time_than_slots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen, wait = [], Children.wait
    monkeypatch.setattr(
        Children, 'wait', lambda self: (seen.append(len(self.active)), wait(self))[1]
    )
    run_all([stub(f'run{i}', 'ends') for i in range(4)], slots(2))
    assert seen == [2, 2, 2, 1]


def test_a_failing_run_does_not_keep_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    failing = stub('a', 'fails')
    assert run_all([failing, stub('b', 'ends')], slots(1)) == ['a (runs/sweep/output/a.txt)']
    shown = capsys.readouterr().out
    assert 'a failed after' in shown and 'b finished' in shown
    assert Path(failing.output).read_text().endswith('Error: no space is left\n')


@pytest.mark.parametrize(('name', 'code'), [('SIGINT', 130), ('SIGTERM', 143), ('SIGHUP', 129)])
def test_a_signal_stops_all_runs_cleanly(tmp_path, monkeypatch, capsys, name, code):
    monkeypatch.chdir(tmp_path)
    number = getattr(signal, name)
    if signal.getsignal(number) == signal.SIG_IGN:  # as in the background of a shell
        signal.signal(number, signal.SIG_DFL)
    usual = signal.getsignal(number)
    trainings = [stub('a', name), stub('b', 'ends')]
    with pytest.raises(SystemExit) as stopped:
        run_all(trainings, slots(1))
    assert stopped.value.code == code
    assert Path('runs/a/resume').read_text() == 'stopped\n' and not Path('runs/b').exists()
    assert 'a stopped after' in capsys.readouterr().out
    assert signal.getsignal(number) == usual
    assert run_all(trainings, slots(2)) == []
    assert 'resumed' in Path(trainings[0].output).read_text()


@pytest.mark.parametrize('repeat', [False, True])
def test_a_second_signal_is_handed_on_if_it_shall_be(tmp_path, monkeypatch, repeat):
    monkeypatch.chdir(tmp_path)
    code = (
        'import os, signal\n'
        'signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n'
        f'for seconds in (60, {60 if repeat else 1}):\n'
        '    os.kill(os.getppid(), signal.SIGINT)\n'
        '    print(signal.sigtimedwait([signal.SIGTERM], seconds) is not None)'
    )
    monkeypatch.setattr(Training, 'command', lambda self: [sys.executable, '-c', code])
    with Children(signal.SIGINT, repeat=repeat) as children:
        children.start(Training('a.json', 'runs/a'), 'output/a.txt')
        children.wait()
    assert Path('output/a.txt').read_text() == f'True\n{repeat}\n'


def test_runs_hear_nothing_from_the_terminal_and_no_warning_of_the_cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = 'import os, signal; print(os.getsid(0), signal.getsignal(signal.SIGUSR2))'
    monkeypatch.setattr(Training, 'command', lambda self: [sys.executable, '-c', code])
    with Children() as children:
        process = children.start(Training('a.json', 'runs/a'), 'output/a.txt')
        assert children.wait().returncode == 0
    session, handler = Path('output/a.txt').read_text().split()
    assert int(session) == process.pid
    assert handler == str(int(signal.SIG_IGN)) or 'SIG_IGN' in handler


def test_several_gpus_are_trained_on_through_torchs_launcher():
    one = Training('a.json', 'w').command()
    two = Training('a.json', 'w', n_gpus=2, device='cuda').command()
    train = str(CHECKOUT / 'tools/train.py')
    assert one[1:] == [train, 'a.json', '--work-dir', 'w']
    assert two[1:5] == ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    assert two[5:] == [train, 'a.json', '--work-dir', 'w', '--device', 'cuda']


def test_torchrun_gives_a_stopped_run_time_for_an_evaluation(monkeypatch, capfd):
    code = 'import os; print(os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])'
    monkeypatch.setattr(Training, 'command', lambda self: [sys.executable, '-c', code])
    for expected in ('600', '900'):  # the second is the user's
        train_with_torchrun(Training('a.json', 'w', n_gpus=2))
        assert capfd.readouterr().out == f'{expected}\n'
        monkeypatch.setenv('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', '900')


# Slots


@pytest.mark.parametrize(
    ('visible', 'jobs', 'n_gpus', 'expected'),
    [
        (None, 2, 1, ['0', '1']),
        (None, 2, 2, ['0,1', '2,3']),
        ('3,5,6,7', 3, 1, ['3', '5', '6']),
    ],
)
def test_every_slot_has_gpus_of_its_own(monkeypatch, visible, jobs, n_gpus, expected):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    found = slots_for(jobs, n_gpus)
    assert found == [{'CUDA_VISIBLE_DEVICES': e} for e in expected]


@pytest.mark.parametrize(('jobs', 'threads'), [(1, '8'), (3, '2'), (16, '1')])
def test_runs_on_the_cpu_share_its_threads(monkeypatch, jobs, threads):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 8)
    found = slots_for(jobs, 1, 'cpu')
    assert len(found) == jobs
    assert {slot['OMP_NUM_THREADS'] for slot in found} == {threads}


@pytest.mark.parametrize(
    ('jobs', 'n_gpus', 'device', 'says'),
    [
        (5, 1, None, r'--jobs 5: a run takes 1 GPU\(s\) and torch sees 4'),
        (3, 2, 'cuda', r'--jobs 3: a run takes 2 GPU\(s\) and torch sees 4'),
        (2, 1, 'cuda:1', 'choose GPUs with CUDA_VISIBLE_DEVICES, not with --device'),
    ],
)
def test_more_jobs_than_devices(monkeypatch, jobs, n_gpus, device, says):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    with pytest.raises(UserError, match=says):
        slots_for(jobs, n_gpus, device)


# The command


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--exp', '7', '--jobs', '0'], '--jobs 0: at least one'),
        (['--exp', '7', '--jobs', '2', '--machine', 'slurm'], '--jobs goes with --machine local'),
        (['--exp', '7', '--slurm', 'x.yaml'], '--slurm goes with --machine slurm'),
        (['--config', 'x.py', '--jobs', '2'], '--jobs goes with --exp'),
        (['--config', 'x.py', '--status'], '--status goes with --exp'),
        (['--config', 'x.py', '--machine', 'slurm'], '--machine goes with --exp'),
    ],
)
def test_options_that_do_not_go_together(arguments, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_experiments.main(arguments)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_an_experiment_side_by_side(workplace, monkeypatch, capsys):
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    monkeypatch.setattr(
        Training, 'command', lambda self: [sys.executable, '-c', f'print("{self.work_dir}")']
    )
    run_experiments.main(['--exp', '7', '--jobs', '2'])
    outputs = sorted(Path('work_dirs/local-exp7/sweep/output').iterdir())
    assert [path.stem.split('_')[3] for path in outputs] == ['s0', 's1']
    for path in outputs:
        assert path.read_text() == f'work_dirs/local-exp7/{path.stem}\n'
        assert Path(f'configs/generated/local-exp7/{path.stem}.json').is_file()
    assert capsys.readouterr().out.count(' finished after ') == 2


@pytest.mark.long
def test_side_by_side_gives_the_same_tensors_as_in_turn(workplace, monkeypatch, one_thread, capsys):
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    trained = []
    for arguments in ([], ['--jobs', '2']):
        run_experiments.main(['--exp', '7', '--device', 'cpu', *arguments])
        trained.append(
            [
                torch.load(f'{folder}/latest.pth', weights_only=True)['state_dict']
                for folder in runs().values()
            ]
        )
        shutil.rmtree('work_dirs')
    for one, other in zip(*trained, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert capsys.readouterr().out.count('| mIoU (%)') == 2


# --status


@pytest.fixture
def sweep(copied_run, monkeypatch):
    """A finished run, one stopped after 2 of 4 iterations, and one that has not begun."""
    Path('work_dirs', GROUP).mkdir()
    for seed in range(2):
        name = f'240101_1200_tiny_s{seed}_0000{seed}'
        folder = Path('work_dirs', GROUP, name)
        shutil.copytree(copied_run.work_dir, folder, symlinks=True)
        if seed > 0:
            # Stopped in its last evaluation a run has its last checkpoint, too.
            (folder / 'resume_4.pth').symlink_to('iter_4.pth')
            (log,) = folder.glob('*.log.json')
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            kept = [json.dumps(line) for line in lines if line.get('iter', 0) <= 2]
            log.write_text('\n'.join(kept) + '\n')
    return [{'name': f'tiny_s{seed}'} for seed in range(3)]


def states(table):
    return {row[0].removeprefix('240101_1200_'): row[1:] for row in table.rows}


def test_status_tells_every_state(sweep, copied_run):
    found = states(show_status(GROUP, sweep))
    final, earlier = (100 * copied_run.log('val')[i]['mIoU'] for i in (-1, 0))
    assert found == {
        'tiny_s0_00000': ['finished', '4/4', f'{final:.2f}'],
        'tiny_s1_00001': ['stopped', '2/4', f'{earlier:.2f}'],
        'tiny_s2': ['waiting', '', ''],
    }


def test_status_knows_a_run_in_progress_by_its_lock(sweep):
    from mmseg.engine.run_start import locked

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(f'work_dirs/{GROUP}/240101_1200_tiny_s1_00001'):
            os.write(writer, b'.')
            signal.pause()
    os.read(reader, 1)
    try:
        found = states(show_status(GROUP, sweep))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    state, iteration, _ = found['tiny_s1_00001']
    assert state.startswith(f'running: process {child} on ') and iteration == '2/4'
    assert states(show_status(GROUP, sweep))['tiny_s1_00001'][0] == 'stopped'


def test_runs_of_a_config_are_not_those_of_a_longer_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('tiny_s0_00000', 'tiny_s0_00001', 'small_tiny_s0_00002'):
        Path('work_dirs', GROUP, f'240101_1200_{name}').mkdir(parents=True)
    found = states(show_status(GROUP, [{'name': 'tiny_s0'}, {'name': 'tiny_s1'}]))
    assert list(found) == ['tiny_s0_00000', 'tiny_s0_00001', 'tiny_s1']


def test_status_needs_neither_torch_nor_mmseg(tmp_path):
    code = (
        f'import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import run_experiments\n'
        'run_experiments.main(["--exp", "6", "--status", "--machine", "slurm"])\n'
        'assert not {"torch", "mmcv", "mmseg", "submitit"} & set(sys.modules)'
    )
    result = run_python('-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(' waiting ') == 42
    assert not list(tmp_path.iterdir())
