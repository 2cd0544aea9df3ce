"""Runs as jobs of a cluster: submitit's local executor, and stand-ins for SLURM's commands."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import submitit

import run_experiments
from tests.stub_training import stub
from tests.test_experiment_runs import tiny_experiment
from tools.sweeps.cluster import Cluster, check_reachable, read_cluster
from tools.sweeps.job_states import job_states
from tools.sweeps.slurm import submit
from tools.sweeps.status import show_status
from tools.sweeps.sweep_files import note_of, read_note

GROUP = 'slurm-exp7'
LOCAL = Cluster(cluster='local')
# Answers as SLURM's commands do, from files beside it.
STAND_INS = {
    'sbatch': 'N=$(cat $D/count); echo $((N + 1)) > $D/count; cp "$1" $D/$N.sh\n'
    'echo "Submitted batch job $N"',
    'sacct': 'cat $D/states',
    'scontrol': 'echo "$@" >> $D/requeued',
    'srun': 'while [ "$1" != env ]; do shift; done; exec "$@"',
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with SLURM's commands, first in PATH; `say` sets what sacct answers."""
    folder = tmp_path / 'slurm'
    folder.mkdir()
    for name, script in STAND_INS.items():
        (folder / name).write_text(f'#!/bin/sh\nD={folder}\n{script}\n')
        (folder / name).chmod(0o755)
    (folder / 'count').write_text('41')
    monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
    say(folder)
    submitit.SlurmJob.watcher._registered.clear()
    yield folder
    submitit.SlurmJob.watcher._registered.clear()


def say(folder, **jobs):
    """Let sacct say this of the jobs, e.g. ``job41='PENDING'``."""
    lines = [f'{job.removeprefix("job")}|{state}|' for job, state in jobs.items()]
    (folder / 'states').write_text('\n'.join(['JobID|State|NodeList', *lines]) + '\n')
    submitit.SlurmJob.watcher.clear()


# What a job does


def run_here(tmp_path, monkeypatch, training, cluster=LOCAL):
    monkeypatch.chdir(tmp_path)
    (job,) = submit([training], GROUP, cluster)
    job.wait()
    return job


def test_a_job_trains_its_run(tmp_path, monkeypatch):
    job = run_here(tmp_path, monkeypatch, stub('a', 'ends'))
    job.result()
    assert Path('output/a.txt').read_text().startswith('devices:')
    note = read_note(GROUP, 'a')
    assert note == {'cluster': 'local', 'job': job.job_id}
    assert job_states(GROUP, {'a': note}) == {'a': ('stopped', 'COMPLETED')}


def test_a_warned_job_stops_its_run_cleanly_and_goes_on_in_the_next_try(tmp_path, monkeypatch):
    job = run_here(tmp_path, monkeypatch, stub('a', 'SIGUSR2'))
    job.result()
    assert Path('run_a/resume').read_text() == 'stopped\n'
    assert Path('output/a.txt').read_text().count('went on') == 1
    assert f'Requeued job {job.job_id}' in job.stdout()


def test_a_job_is_not_queued_for_ever(tmp_path, monkeypatch):
    # So short a time limit that every warning counts as meeting it.
    cluster = Cluster(cluster='local', hours=0.1, requeues=0)
    job = run_here(tmp_path, monkeypatch, stub('a', 'SIGUSR2'), cluster)
    assert 'timed-out too many times' in str(job.exception())
    assert Path('run_a/resume').read_text() == 'stopped\n'
    assert not Path('output/a.txt').read_text().count('went on')


def test_a_failed_run_fails_its_job(tmp_path, monkeypatch):
    job = run_here(tmp_path, monkeypatch, stub('a', 'fails'))
    assert 'exit code 1; see output/a.txt' in str(job.exception())
    assert Path('output/a.txt').read_text().endswith('Error: no space is left\n')
    assert job_states(GROUP, {'a': read_note(GROUP, 'a')})['a'][0] == 'failed'


@pytest.mark.parametrize(('name', 'requeued'), [('SIGUSR2', ['requeue 41']), ('SIGTERM', [])])
def test_on_slurm_a_warning_queues_the_job_again_and_scancel_does_not(
    tmp_path, monkeypatch, slurm, name, requeued
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SLURM_JOB_ID', '41')
    submit([stub('a', name)], GROUP, Cluster())
    script = slurm / '41.sh'
    first = subprocess.run(['bash', script], check=False, capture_output=True, text=True)
    assert first.returncode != 0, first.stderr
    assert Path('run_a/resume').read_text() == 'stopped\n'
    said = slurm / 'requeued'
    assert (said.read_text().splitlines() if said.exists() else []) == requeued
    # No result: SLURM may start the job again.
    assert not list(Path(f'work_dirs/{GROUP}/sweep/submitit').glob('*_result.pkl'))
    second = subprocess.run(['bash', script], check=False, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert 'went on' in Path('output/a.txt').read_text()


# What is submitted


def test_a_job_asks_for_what_the_file_says(tmp_path, monkeypatch, slurm):
    monkeypatch.chdir(tmp_path)
    training = stub('a', 'ends')
    object.__setattr__(training, 'n_gpus', 2)
    submit([training], GROUP, Cluster(
        partition='gpu', hours=1.5, cpus_per_gpu=6, memory_gb_per_gpu=40, warning_seconds=200,
        setup=('module load cuda',), account='me',
    ))  # fmt: skip
    script = (slurm / '41.sh').read_text()
    for flag in (
        'partition=gpu', 'time=90', 'cpus-per-task=12', 'mem=80GB', 'gpus-per-node=2', 'account=me',
        'signal=USR2@200', 'requeue', 'job-name=a', 'ntasks-per-node=1', 'open-mode=append',
    ):  # fmt: skip
        assert f'#SBATCH --{flag}\n' in script, flag
    assert '\nmodule load cuda\n' in script


def test_an_experiment_is_submitted_once(workplace, monkeypatch, slurm, capsys):
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    command = ['--exp', '7', '--machine', 'slurm']
    run_experiments.main(command)
    shown = capsys.readouterr().out
    assert re.search(r'tiny_s0_\w+ is job 41;', shown)
    assert re.search(r'tiny_s1_\w+ is job 42;', shown) and 'Submitted: 2.' in shown

    say(slurm, job41='RUNNING', job42='PENDING')
    run_experiments.main(command)
    shown = capsys.readouterr().out
    assert 'is job 41 already: RUNNING' in shown and 'is job 42 already: PENDING' in shown
    assert 'Submitted: 0.' in shown and (slurm / 'count').read_text() == '43\n'
    run_experiments.main([*command, '--status'])
    assert '1 waiting, 1 running' in capsys.readouterr().out

    say(slurm, job41='FAILED', job42='CANCELLED by 1000')
    run_experiments.main([*command, '--status'])
    shown = capsys.readouterr().out
    assert 'job 41: FAILED' in shown and '1 failed, 1 stopped' in shown
    run_experiments.main(command)
    assert 'is job 43;' in capsys.readouterr().out
    assert len(list(Path(f'configs/generated/{GROUP}').iterdir())) == 2


def test_a_job_that_slurm_does_not_know_is_not_submitted_again(
    workplace, monkeypatch, slurm, capsys
):
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    command = ['--exp', '7', '--machine', 'slurm', '--seeds', '0']
    run_experiments.main(command)
    run_experiments.main(command)
    shown = capsys.readouterr().out
    assert 'is job 41 already: UNKNOWN' in shown and 'Submitted: 0.' in shown
    (note,) = Path(f'work_dirs/{GROUP}/sweep/notes').iterdir()
    assert f'If SLURM has no such job, delete {note}' in shown
    assert str(note) == note_of(GROUP, note.stem)
    note.unlink()
    run_experiments.main(command)
    assert 'is job 42;' in capsys.readouterr().out


def test_a_refused_job_is_one_line(workplace, monkeypatch, slurm):
    (slurm / 'sbatch').write_text('#!/bin/sh\necho "sbatch: error: invalid partition" >&2; exit 1')
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    with pytest.raises(
        SystemExit, match=r'^Error: .*tiny_s0_\w+ cannot .*: sbatch: error: invalid'
    ):
        run_experiments.main(['--exp', '7', '--machine', 'slurm'])


def test_status_prefers_what_the_folder_says(tmp_path, monkeypatch, slurm):
    monkeypatch.chdir(tmp_path)
    name = '240101_1200_a_s0_00000'
    submit([stub(name, 'ends')], GROUP, Cluster())
    say(slurm, job41='PENDING')
    (row,) = show_status(GROUP, [{'name': 'a_s0'}]).rows
    assert row == [name, 'waiting', '', '', 'job 41: PENDING']


def test_status_without_submitit(tmp_path, monkeypatch, slurm):
    monkeypatch.chdir(tmp_path)
    name = '240101_1200_a_s0_00000'
    submit([stub(name, 'ends')], GROUP, Cluster())
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    (row,) = show_status(GROUP, [{'name': 'a_s0'}]).rows
    assert row[1] == 'waiting' and row[-1] == 'job 41: UNKNOWN, as submitit is not installed'


# The YAML file


def test_the_example_says_the_defaults():
    assert read_cluster('configs/slurm.yaml') == Cluster()


def test_what_is_left_out_has_a_default(tmp_path):
    path = tmp_path / 'slurm.yaml'
    path.write_text('partition: gpu\nhours: 2\nsetup: [module load cuda]\naccount:\n')
    assert read_cluster(path) == Cluster(partition='gpu', hours=2, setup=['module load cuda'])
    path.write_text('')
    assert read_cluster(path) == Cluster()


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('partiton: gpu', 'partiton: nothing reads this key; did you mean partition?'),
        ('xyz: red', 'xyz: nothing reads this key; known are partition, '),
        ('hours: -1', 'hours: -1 cannot be; it takes a number above 0'),
        ('hours: 1-00:00:00', "hours: '1-00:00:00' cannot be"),
        ('hours: .inf', 'hours: inf cannot be'),
        ('hours: yes', 'hours: True cannot be'),
        ('cpus_per_gpu: 1.5', 'cpus_per_gpu: 1.5 cannot be; it takes a whole number above 0'),
        ('memory_gb_per_gpu: lots', "'lots' cannot be"),
        ('requeues: -1', '-1 cannot be; it takes a whole number, 0 or more'),
        ('partition: 7', '7 cannot be; it takes text'),
        ('setup: module load cuda', 'it takes a list of shell commands'),
        ('cluster: pbs', 'it takes slurm or local'),
        ('hours: 0.05', 'warning_seconds: 180 is not below the time limit, hours: 0.05'),
        ('- a\n- b', 'lines of the form "key: value"'),
        ('a: b: c', 'cannot be read as YAML: mapping values are not allowed'),
    ],
)
def test_mistakes_in_the_file_are_one_line(tmp_path, text, says):
    path = tmp_path / 'slurm.yaml'
    path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        run_experiments.main(['--exp', '7', '--machine', 'slurm', '--slurm', str(path)])
    message = stopped.value.code
    assert message.startswith(f'Error: {path}') and says in message and '\n' not in message


def test_a_file_that_is_not_there():
    with pytest.raises(SystemExit, match=r'--slurm nowhere\.yaml does not exist; configs/slurm'):
        run_experiments.main(['--exp', '7', '--machine', 'slurm', '--slurm', 'nowhere.yaml'])


def test_no_slurm_here(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SystemExit, match='there is no sbatch and no srun in PATH'):
        run_experiments.main(['--exp', '7', '--machine', 'slurm'])


def test_no_submitit(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ValueError, match='needs submitit, which is not installed'):
        check_reachable(LOCAL)


@pytest.mark.long
def test_real_runs_as_jobs(workplace, monkeypatch, capsys):
    Path('local.yaml').write_text('cluster: local')
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    submitted = []
    monkeypatch.setattr('tools.sweeps.slurm.submit', lambda *args: submitted.extend(submit(*args)))
    command = ['--exp', '7', '--machine', 'slurm', '--slurm', 'local.yaml', '--device', 'cpu']
    run_experiments.main(command)
    for job in submitted:
        job.result()
    run_experiments.main([*command[:4], '--status'])
    assert capsys.readouterr().out.splitlines()[-1] == '2 finished'
    run_experiments.main(command)
    shown = capsys.readouterr().out
    assert shown.count('This run is finished') == 2 and 'Submitted: 0.' in shown
