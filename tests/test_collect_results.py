"""The table of results: what it reads from folders of runs, and how it sums them up."""

import csv
import json
import statistics

import pytest

from tests.tiny_runs import CHECKOUT, run_python
from tools import collect_results


@pytest.fixture
def make_run(tmp_path):
    """Makes a run's folder below work_dirs with its config and JSON log; returns the folder."""

    def make(name, seed, mious, exp=1, folder=None, max_iters=40, **settings):
        number = len(list(tmp_path.glob('work_dirs/*/*')))
        full_name = f'261123_07{number:02}_{name}_s{seed}_{number:05x}'
        folder = tmp_path / 'work_dirs' / f'local-exp{exp}' / (folder or full_name)
        folder.mkdir(parents=True)
        config = {
            'name': full_name, 'seed': seed, 'exp': exp, 'work_dir': str(folder),
            'git_rev': str(number),
            'runner': {'type': 'IterBasedRunner', 'max_iters': max_iters},
            'uda': {'alpha': 0.999, 'debug_img_interval': 1000}, **settings,
        }  # fmt: skip
        (folder / f'{full_name}.json').write_text(json.dumps(config))
        entries = [{'exp_name': full_name}, {'mode': 'train', 'iter': 10, 'loss': 1.0}]
        for iteration, miou in mious.items():
            metrics = {'mIoU': miou, 'IoU.road': 0.9, 'IoU.train': float('nan')}
            entries.append({'mode': 'val', 'iter': iteration, **metrics})
        lines = ''.join(f'{json.dumps(entry)}\n' for entry in entries)
        (folder / '20261123_070000.log.json').write_text(lines)
        return folder

    return make


@pytest.fixture
def rows(tmp_path, capsys):
    """Rows of the table: label → cells."""

    def rows(*arguments):
        collect_results.main([str(tmp_path / 'work_dirs'), *arguments])
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
        cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
        return {label: values for label, *values in cells}

    return rows


def test_mean_and_deviation_over_seeds(make_run, rows):
    for seed, miou in enumerate((0.683, 0.6749, 0.689)):
        make_run('gta2cs_daformer', seed, {20: 0.5, 40: miou})
    make_run('gta2cs_dacs', 1, {40: 0.521})
    deviation = statistics.stdev((68.3, 67.49, 68.9))
    assert rows() == {
        'mIoU (%)': ['seed 0', 'seed 1', 'seed 2', 'mean', 'std'],
        'gta2cs_daformer': ['68.30', '67.49', '68.90', '68.23', f'{deviation:.2f}'],
        'gta2cs_dacs': ['', '52.10', '', '52.10', ''],
    }


def test_unfinished_runs_do_not_count(make_run, rows):
    make_run('daformer', 0, {20: 0.6, 40: 0.7})
    make_run('daformer', 1, {20: 0.5})
    make_run('daformer', 2, {})
    assert rows()['daformer'] == ['70.00', '50.00 (20/40)', '- (0/40)', '70.00', '']


def test_a_folder_with_two_configs_is_left_out(make_run, rows, capsys):
    make_run('daformer', 0, {40: 0.6})
    folder = make_run('daformer', 1, {40: 0.7})
    (folder / 'other.json').write_text('{"name": "other", "runner": {}}')
    assert rows()['daformer'][0] == '60.00'
    collect_results.main([str(folder.parent)])
    assert 'other.json' in capsys.readouterr().err


def test_two_runs_of_one_seed_both_count(make_run, rows):
    make_run('daformer', 0, {40: 0.6})
    make_run('daformer', 0, {40: 0.7})
    assert rows()['daformer'][:2] == ['60.00, 70.00', '65.00']


def test_what_a_setting_changes_stands_in_a_row_of_its_own(make_run, rows):
    make_run('daformer', 0, {40: 0.6})
    make_run('daformer', 1, {40: 0.7}, uda={'alpha': 0.9, 'debug_img_interval': 10})
    make_run('daformer', 2, {40: 0.8}, uda={'alpha': 0.9, 'debug_img_interval': 1000})
    assert rows() == {
        'mIoU (%)': ['seed 0', 'seed 1', 'seed 2', 'mean', 'std'],
        'daformer': ['60.00', '', '', '60.00', ''],
        'daformer (uda.alpha=0.9)': ['', '70.00', '80.00', '75.00', '7.07'],
    }


@pytest.mark.parametrize(
    'settings',
    [
        {'log_config': {'interval': 1}, 'evaluation': {'interval': 5}, 'scale_lr': False},
        {'data': {'workers_per_gpu': 1}, 'name_opt': 'adamw', 'deterministic': True},
        {'model': {'backbone': {'with_cp': False}}, 'norm_cfg': {'type': 'BN'}},
        {'speed': {'accumulate': 2}, 'load_from': None},
    ],
)
def test_what_changes_no_result_is_in_the_same_row(make_run, rows, settings):
    make_run('daformer', 0, {40: 0.6})
    make_run('daformer', 1, {40: 0.7}, **settings)
    assert rows()['daformer'] == ['60.00', '70.00', '65.00', '7.07']


def test_another_batch_is_another_row(make_run, rows):
    for seed, (size, n_gpus) in enumerate([(2, 1), (1, 2), (2, 2)]):
        make_run('a', seed, {40: 0.6}, data={'samples_per_gpu': size}, n_gpus=n_gpus)
    key = 'data.samples_per_gpu × n_gpus'
    assert set(rows()) == {'mIoU (%)', 'a', f'a ({key}=4)'}


def test_foreign_files_beside_a_run(make_run, rows):
    folder = make_run('daformer', 0, {40: 0.6})
    (folder / 'x.json').write_text('{"iter": 4, "confusion": []}')
    (folder / 'train.log.json').write_text('no JSON log')
    (folder.parent / 'train.log.json').write_text('no JSON log')
    assert rows()['daformer'][0] == '60.00'


def test_csv_has_every_metric_of_every_run(make_run, rows, tmp_path):
    folders = [make_run('daformer', seed, {40: 0.6 + seed / 10}) for seed in (0, 1)]
    rows('--csv', str(tmp_path / 'results' / 'all.csv'))
    with open(tmp_path / 'results' / 'all.csv') as file:
        lines = list(csv.DictReader(file))
    assert [line['seed'] for line in lines] == ['0', '1']
    assert [line['mIoU'] for line in lines] == ['60.00', '70.00']
    assert [line['IoU.road'] for line in lines] == ['90.00', '90.00']
    assert [line['IoU.train'] for line in lines] == ['nan'] * 2
    assert [line['work_dir'] for line in lines] == [str(folder) for folder in folders]


def test_a_csv_that_cannot_be_written(make_run, rows, tmp_path):
    make_run('daformer', 0, {40: 0.6})
    with pytest.raises(SystemExit, match=r'^Error: .* cannot be written'):
        rows('--csv', str(tmp_path))


def test_a_half_written_last_line_is_passed_over(make_run, rows):
    folder = make_run('daformer', 0, {20: 0.6})
    with open(folder / '20261123_070000.log.json', 'a') as file:
        file.write('{"mode": "val", "it')
    assert rows()['daformer'][0] == '60.00 (20/40)'


def test_a_broken_line_is_named_with_its_file(make_run, rows):
    folder = make_run('daformer', 0, {20: 0.6})
    with open(folder / '20261123_070000.log.json', 'a') as file:
        file.write('no json\n')
    with pytest.raises(SystemExit, match=r'^Error: .*20261123_070000.log.json is no JSON log: '):
        rows()


def test_a_renamed_folder(make_run, rows):
    make_run('daformer', 0, {40: 0.6}, folder='best one')
    assert rows()['daformer'][0] == '60.00'


def test_a_folder_without_runs(tmp_path):
    result = run_python(CHECKOUT / 'tools/collect_results.py', 'nowhere', cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == ''
    assert result.stderr == 'Error: there is no run in nowhere.\n'
