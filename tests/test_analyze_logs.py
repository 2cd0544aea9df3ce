"""Tables and curves of logs: what they say of finished, unfinished and resumed runs."""

import json

import cv2
import pytest

from daformer_runs.run_folder import read_log
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, run_python
from tools import analyze_logs


def train(iteration, loss, time=0.5, **more):
    entry = {'mode': 'train', 'iter': iteration, 'decode.loss_ce': loss, 'time': time, **more}
    return json.dumps(entry) + '\n'


def val(iteration, miou):
    return json.dumps({'mode': 'val', 'iter': iteration, 'mIoU': miou, 'IoU.train': miou}) + '\n'


@pytest.fixture
def write_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(path, *lines):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({'exp_name': 'x'}) + '\n' + ''.join(lines))

    return write


def rows(table):
    return [[str(cell) for cell in row] for row in table.rows]


def test_last_best_and_mean_values(write_log):
    write_log(
        'runs/a/20261123_070001.log.json',
        train(10, 3.0),
        train(20, 1.0),
        train(30, 2.0),
        val(30, 0.25),
    )
    write_log('runs/b/20261123_070001.log.json', train(10, 4.0), val(10, 0.5), val(20, 0.25))
    values = analyze_logs.main(['runs', '--keys', 'decode.loss_ce', 'mIoU'])
    assert values.field_names[-1] == 'mean of last 5'
    assert rows(values) == [
        ['runs/a', 'decode.loss_ce', '2', '30', '1', '20', '2'],
        ['runs/b', 'decode.loss_ce', '4', '10', '4', '10', '4'],
        ['runs/a', 'mIoU (%)', '25', '30', '25', '30', '25'],
        ['runs/b', 'mIoU (%)', '25', '20', '50', '10', '37.5'],
    ]


def test_losses_miou_and_times_by_default(write_log):
    write_log('a/20261123_070001.log.json', train(10, 1, data_time=0.125), val(10, 0.5))
    keys = [row[1] for row in rows(analyze_logs.main(['a']))]
    assert keys == ['decode.loss_ce', 'mIoU (%)', 'time', 'data_time']


def test_seconds_of_all_iterations(tmp_path):
    # A log line averages the iterations since the one before.
    log = tmp_path / 'log.json'
    log.write_text(train(10, 1, 1.0) + train(20, 1, 0.5) + train(60, 1, 0.25))
    assert read_log([log]).seconds == 10 + 5 + 10


def test_a_run_that_went_back_is_told_as_it_went_on(write_log, capsys):
    # Killed after 30, resumed from 10, and again being written.
    write_log(
        'a/20261123_070001.log.json',
        train(10, 3),
        train(20, 9),
        val(20, 0.9),
        train(30, 9),
        val(30, 0.9),
    )
    write_log('a/20261123_070002.log.json', train(20, 2), val(20, 0.5), '{"mode": "train", "it')
    values = analyze_logs.main(['a', '--keys', 'decode.loss_ce', 'mIoU'])
    assert rows(values) == [
        ['a', 'decode.loss_ce', '2', '20', '2', '20', '2.5'],
        ['a', 'mIoU (%)', '50', '20', '50', '20', '50'],
    ]


def test_missing_values_and_nan(write_log):
    write_log('a/20261123_070001.log.json', train(10, 1), val(10, float('nan')), val(20, 0.5))
    write_log('b/20261123_070001.log.json', train(10, 1))
    values = analyze_logs.main(['a', 'b', '--keys', 'IoU.train'])
    assert rows(values) == [
        ['a', 'IoU.train (%)', '50', '20', '50', '20', '50'],
        ['b', 'IoU.train (%)', *['-'] * 5],
    ]


def test_curves_of_a_trained_run(trained_run, tmp_path, capsys):
    out = tmp_path / 'curves.png'
    analyze_logs.main(
        [trained_run.work_dir, '--keys', 'mIoU', 'mix.decode.loss_ce', '--out', str(out)]
    )
    picture = cv2.imread(str(out))
    # Two panels: matplotlib's first colour, that of the only run, is in both of them.
    blue = abs(picture.astype(int) - (180, 119, 31)).max(axis=2) < 10
    half = picture.shape[1] // 2
    assert blue[:, :half].sum() > 50 and blue[:, half:].sum() > 50
    assert f'The curves are in {out}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['nowhere'], ['nowhere holds no .log.json', 'Give runs']),
        (['empty'], ['empty holds no .log.json']),
        (['a', '--keys', 'miou'], ['miou', 'There are decode.loss_ce']),
        (['broken'], ['broken/20261123_070001.log.json is no JSON log']),
        (['begun'], ['not all of [] are logged']),
        (['a', '--out', 'nowhere/curves.png'], ['nowhere/curves.png']),
    ],
)
def test_mistakes(write_log, tmp_path, arguments, says):
    (tmp_path / 'empty').mkdir()
    write_log('a/20261123_070001.log.json', train(10, 1), val(10, 0.5))
    write_log('broken/20261123_070001.log.json', 'no JSON\n')
    write_log('begun/20261123_070001.log.json')
    with refused(*says):
        analyze_logs.main(arguments)


def test_an_unknown_format(write_log):
    write_log('a/20261123_070001.log.json', train(10, 1))
    with refused("Format 'xyz' is not supported"):
        analyze_logs.main(['a', '--out', 'curves.xyz'])


def test_as_a_command_without_torch(write_log, tmp_path):
    write_log('a/20261123_070001.log.json', train(10, 1))
    for package in ('torch', 'mmseg', 'mmcv'):
        (tmp_path / 'none' / package).mkdir(parents=True)
        (tmp_path / 'none' / package / '__init__.py').write_text('raise ImportError')
    code = (
        f'import sys; sys.path[:0] = [{str(tmp_path / "none")!r}, {str(CHECKOUT)!r}]; '
        'from tools.analyze_logs import main; main()'
    )
    result = run_python('-c', code, 'a', cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ''
    assert '| a   | decode.loss_ce |' in result.stdout
