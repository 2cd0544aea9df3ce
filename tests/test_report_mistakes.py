"""The report as a command: what it refuses, in one line, and that it needs no torch."""

import re

import pytest

from tests.report_folders import add_log_line, write_json, write_run
from tests.tiny_runs import CHECKOUT, run_python
from tools import report


def _broken_log(folder):
    add_log_line(folder, 'no json\n{}\n')


def _no_runner(folder):
    write_json(folder / 'daformer.json', {'name': 'daformer', 'seed': 0})


def _wrong_confusion(folder):
    write_json(folder / 'evaluation/iter_000040.json', {'classes': ['road'], 'confusion': [[1, 2]]})


def _broken_confusion(folder):
    write_json(folder / 'evaluation/iter_000040.json', {'classes': ['road']})


def _broken_drawing(folder):
    content = dict(iter=1, classes=['road'], share=[], wanted=[], drawn=[], min_pixels=1)
    write_json(folder / 'evaluation' / 'rare_class_sampling.json', content)


@pytest.mark.parametrize(
    ('damage', 'says'),
    [
        (_broken_log, 'run cannot be read: .*log.json is no JSON log: '),
        (_no_runner, "run is not of a run of this code: it lacks 'runner'"),
        (_wrong_confusion, 'iter_000040.json holds no square matrix of its 1 classes'),
        (_broken_confusion, 'iter_000040.json lacks confusion'),
        (_broken_drawing, 'rare_class_sampling.json has classes, .* of different lengths'),
        (lambda folder: (folder / 'daformer.json').unlink(), 'run holds no run'),
        (lambda folder: (folder / 'report.html').mkdir(), 'report.html cannot be written'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, damage, says):
    folder = write_run(tmp_path / 'run')
    damage(folder)
    with pytest.raises(SystemExit) as stop:
        report.main([str(folder)])
    assert re.search(f'^Error: .*{says}', stop.value.code), stop.value.code
    assert '\n' not in stop.value.code
    assert not [path for path in folder.iterdir() if path.name.endswith('.part')]


def test_the_command_needs_no_torch(tmp_path):
    write_run(tmp_path / 'run')
    script = CHECKOUT / 'tools/report.py'
    result = run_python('-X', 'importtime', script, 'run', '--out', 'new/page.html', cwd=tmp_path)
    assert result.returncode == 0 and 'new/page.html' in result.stdout
    assert (tmp_path / 'new/page.html').exists()
    imported = {line.rsplit('|', 1)[-1].strip() for line in result.stderr.splitlines()}
    assert 'jinja2' in imported and not {'torch', 'mmcv', 'mmseg'} & imported
    result = run_python(script, 'nowhere', cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == 'Error: nowhere is no folder. Give the folder of a run.\n'
