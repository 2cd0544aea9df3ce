"""Runs as jobs of a cluster, with stand-ins for SLURM's commands."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import run_experiments
from mmseg.utils.user_error import UserError
from tests.stub_training import stub
from tests.test_experiment_runs import tiny_experiment
from tools.slurm import submit
from tools.status import show_status

# Answers as SLURM's commands do, from files beside it.
STAND_INS = {
    'sbatch': 'N=$(cat $D/count); echo $((N + 1)) > $D/count; cp "$1" $D/$N.sh\n'
    'echo "Submitted batch job $N"',
    'squeue': 'cat $D/queue',
    'scontrol': 'echo "$@" >> $D/requeued',
    'srun': 'while [ "$1" != env ]; do shift; done; exec "$@"',
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with SLURM's commands, first in PATH; the first job is 41."""
    folder = tmp_path / 'slurm'
    folder.mkdir()
    for name, script in STAND_INS.items():
        (folder / name).write_text(f'#!/bin/sh\nD={folder}\n{script}\n')
        (folder / name).chmod(0o755)
    (folder / 'count').write_text('41')
    (folder / 'queue').write_text('')
    monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
    monkeypatch.chdir(tmp_path)
    return folder


def submit_with(training, **options):
    Path('own.yaml').write_text(yaml.safe_dump(options))
    submit([training], 'own.yaml')


def run_job(slurm, number=41):
    """Do what SLURM does with a job; returns its exit code and what it printed."""
    environment = {**os.environ, 'SLURM_JOB_ID': str(number)}
    result = subprocess.run(
        ['bash', slurm / f'{number}.sh'], env=environment, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return result.returncode, result.stdout


# What a job does


def test_a_job_trains_its_run(slurm):
    training = stub('a', 'ends')
    submit([training])
    code, printed = run_job(slurm)
    assert code == 0, printed
    assert Path(training.output).read_text().startswith('devices:')


@pytest.mark.parametrize(('name', 'requeued'), [('SIGUSR2', ['requeue 41']), ('SIGTERM', [])])
def test_a_warning_requeues_a_job_which_resumes_and_scancel_does_not(slurm, name, requeued):
    training = stub('a', name)
    submit([training])
    code, printed = run_job(slurm)
    assert code != 0, printed
    assert Path('runs/a/resume').read_text() == 'stopped\n'
    said = slurm / 'requeued'
    assert (said.read_text().splitlines() if said.exists() else []) == requeued
    # No result: SLURM may start the job again.
    assert not list(Path('runs/sweep/submitit').glob('*_result.pkl'))
    code, printed = run_job(slurm)
    assert code == 0, printed
    assert Path(training.output).read_text().count('resumed') == 1


def test_a_job_is_not_requeued_for_ever(slurm):
    # So short a time limit that every warning counts as meeting it.
    submit_with(stub('a', 'SIGUSR2'), hours=0.1, requeues=0)
    code, printed = run_job(slurm)
    assert code != 0 and 'timed-out too many times' in printed
    assert Path('runs/a/resume').read_text() == 'stopped\n' and not (slurm / 'requeued').exists()


def test_a_failed_run_fails_its_job(slurm):
    training = stub('a', 'fails')
    submit([training])
    code, printed = run_job(slurm)
    assert code != 0 and f'exit code 1; see {training.output}' in printed
    assert Path(training.output).read_text().endswith('Error: no space is left\n')


# What is submitted


def test_a_job_asks_for_what_the_file_says(slurm):
    submit_with(
        stub('a', 'ends', n_gpus=2), partition='gpu', hours=1.5, cpus_per_gpu=6, account='me',
        memory_gb_per_gpu=40, warning_seconds=200, setup=['module load cuda'], exclude='node7',
    )  # fmt: skip
    script = (slurm / '41.sh').read_text()
    for flag in (
        'partition=gpu', 'time=90', 'cpus-per-task=12', 'mem=81920MB', 'gpus-per-node=2',
        'account=me', 'signal=USR2@200', 'requeue', 'job-name=a', 'ntasks-per-node=1',
        'open-mode=append', 'exclude=node7',
    ):  # fmt: skip
        assert f'#SBATCH --{flag}\n' in script, flag
    assert '\nmodule load cuda\n' in script


def test_the_example_says_the_defaults(slurm):
    submit([stub('a', 'ends')])
    submit_with(stub('a', 'ends'))
    assert (slurm / '41.sh').read_text() == (slurm / '42.sh').read_text()


def test_an_experiment_is_submitted_once(workplace, monkeypatch, slurm, capsys):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    command = ['--exp', '7', '--machine', 'slurm']
    run_experiments.main(command)
    shown = capsys.readouterr().out
    first = re.search(r'(\S+tiny_s0_\w+) is job 41;', shown)[1]
    second = re.search(r'(\S+tiny_s1_\w+) is job 42;', shown)[1]

    (slurm / 'queue').write_text(
        f'RUNNING: job 41 {first}\nPENDING: job 42 {second}\nRUNNING: job 7 of others\n'
    )
    run_experiments.main(command)
    shown = capsys.readouterr().out
    assert f'{first} is queued: RUNNING: job 41' in shown
    assert f'{second} is queued: PENDING: job 42' in shown
    assert (slurm / 'count').read_text() == '43\n'
    table = show_status('slurm-exp7', tiny_experiment(7))
    assert [row[:2] for row in table.rows] == [
        [first, 'RUNNING: job 41'], [second, 'PENDING: job 42'],
    ]  # fmt: skip

    (slurm / 'queue').write_text(f'RUNNING: job 41 {first}\n')
    run_experiments.main(command)
    assert f'{second} is job 43;' in capsys.readouterr().out
    assert len(list(Path('configs/generated/slurm-exp7').iterdir())) == 2


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('partiton: gpu', "Unavailable parameter(s): ['partiton'] Valid parameters are: "),
        ('hours: 1-00:00:00', "could not convert string to float: '1-00:00:00'"),
        ('setup: module load cuda', 'can only concatenate list'),
        ('- a\n- b', 'must be a mapping'),
        ('a: b: c', 'mapping values are not allowed'),
    ],
)
def test_mistakes_in_the_file_are_one_line(slurm, text, says):
    Path('own.yaml').write_text(text)
    with pytest.raises(UserError) as error:
        submit([stub('a', 'ends')], 'own.yaml')
    message = str(error.value)
    assert message.startswith('--machine slurm with own.yaml: ') and says in message
    assert '\n' not in message and (slurm / 'count').read_text() == '41'


def test_a_refused_job_is_one_line(slurm):
    (slurm / 'sbatch').write_text('#!/bin/sh\necho "sbatch: error: invalid partition" >&2; exit 1')
    with pytest.raises(UserError, match=r'with .*slurm\.yaml: .*sbatch: error: invalid partition'):
        submit([stub('a', 'ends')])


def test_no_file_no_slurm_and_a_queue_that_does_not_answer(slurm, monkeypatch):
    with pytest.raises(UserError, match=r"No such file or directory: 'nowhere\.yaml'"):
        submit([stub('a', 'ends')], 'nowhere.yaml')
    (slurm / 'squeue').write_text('#!/bin/sh\necho "cannot connect" >&2; exit 1')
    with pytest.raises(SystemExit, match='Error: squeue fails: cannot connect'):
        submit([stub('a', 'ends')])
    monkeypatch.setenv('PATH', '/nowhere')
    with pytest.raises(UserError, match='are you indeed on a slurm cluster'):
        submit([stub('a', 'ends')])


@pytest.mark.long
def test_real_runs_as_jobs(workplace, monkeypatch, slurm, capsys):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    command = ['--exp', '7', '--machine', 'slurm', '--device', 'cpu']
    run_experiments.main(command)
    for number in (41, 42):
        code, printed = run_job(slurm, number)
        assert code == 0, printed
    run_experiments.main([*command[:4], '--status'])
    assert capsys.readouterr().out.count(' finished ') == 2
    run_experiments.main(command)
    shown = capsys.readouterr().out
    assert shown.count('This run is finished') == 2
