"""Mistakes of users: a message of one line that names the thing and the mend, and no files."""

import contextlib
import importlib
import os
import re
import shutil

import numpy as np
import pytest
import torch

from tests.tiny_runs import (
    CHECKOUT,
    FEATURE_DISTANCE,
    UDA_CONFIG,
    files_below,
    only,
    run_experiment,
    run_python,
)

pytestmark = pytest.mark.usefixtures('one_thread')

GTA_CONFIG = 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
IMAGE = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore/*_000000_*'


@contextlib.contextmanager
def refused(*says):
    """Expect a message of one line with these parts, an exit code that is not 0, no new files."""
    before = files_below('.')
    with pytest.raises(SystemExit) as exit_info:
        yield
    message = exit_info.value.code
    assert isinstance(message, str) and message.startswith('Error: ') and '\n' not in message
    for part in says:
        assert part in message
    assert files_below('.') == before
    assert not os.path.exists('configs') and not os.path.exists('work_dirs')


def break_nothing(data):
    pass


@pytest.mark.parametrize(
    ('breaks', 'arguments', 'options', 'says'),
    [
        (lambda data: shutil.rmtree(data), [], [],
         ['data/street_scenes/gta', 'is missing', 'make_street_scenes.py data/street_scenes']),
        (lambda data: shutil.rmtree(data / 'cityscapes/leftImg8bit/val'), [], [],
         ['leftImg8bit/val is missing', 'make_street_scenes.py']),
        (lambda data: os.remove(data / 'gta/samples_with_class.json'), [], [],
         ['samples_with_class.json', 'convert_datasets/gta.py data/street_scenes/gta']),
        (lambda data: [os.remove(path) for path in (data / 'gta/images').iterdir()], [], [],
         ['gta/images holds no *.png', 'make_street_scenes.py']),
        (lambda data: [os.remove(path) for path in files_below(data / 'cityscapes/gtFine/val')]
         and shutil.rmtree(data / 'cityscapes/gtFine/val'), [], [], ['gtFine/val is missing']),
        (break_nothing, [], ['model.pretrained=nowhere.pth'],
         ['model.pretrained', 'nowhere.pth', 'model.pretrained=None']),
        (break_nothing, ['--load-from', 'nowhere.pth'], [], ['load_from', 'nowhere.pth']),
        (break_nothing, ['--load-from', 'data/street_scenes/README.txt'], [],
         ['README.txt is no checkpoint']),
        (break_nothing, [], ['data.train.source.type=GTADatset'], ['GTADatset']),
        (break_nothing, [], ['runner.max_iters'], ['runner.max_iters', 'KEY=VALUE']),
    ],
)  # fmt: skip
def test_training_refuses(own_data, breaks, arguments, options, says):
    breaks(own_data)
    with refused(*says):
        run_experiment(UDA_CONFIG, *options, arguments=arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_missing_gpu_is_said_before_anything_is_written(workplace):
    with refused('--device cuda', '--device cpu'):
        run_experiment(UDA_CONFIG, arguments=['--device', 'cuda'])


@pytest.mark.parametrize(
    ('name', 'content', 'says'),
    [
        ('missing.py', None, ['missing.py', 'does not exist', 'configs/']),
        ('broken.py', 'model = dict(\n', ['broken.py', 'cannot be read']),
        ('text.json', 'this is no JSON', ['text.json', 'cannot be read']),
        ('orphan.py', "_base_ = ['gone.py']\n", ['orphan.py', 'gone.py']),
        ('undefined.py', 'model = foo\n', ['undefined.py', "'foo' is not defined"]),
        ('empty.py', '', ['empty.py', "no 'model'"]),
        ('config.txt', 'model = 1', ['config.txt', 'JSON files (.json)']),
    ],
)
def test_config_that_is_none(workplace, name, content, says):
    if content is not None:
        (workplace / name).write_text(content)
    with refused(*says):
        run_experiment(name)


@pytest.mark.parametrize('arguments', [[], ['--new']])
def test_folder_of_another_run_is_refused(copied_run, arguments):
    before = files_below('.')
    options = ['uda.alpha=0.5'] if not arguments else []
    with pytest.raises(SystemExit, match=f'{copied_run.name}.*--work-dir'):
        run_experiment(
            UDA_CONFIG, *FEATURE_DISTANCE, *options,
            arguments=[*arguments, '--work-dir', copied_run.work_dir],
        )  # fmt: skip
    assert files_below('.') == before


def test_train_refuses_the_folder_of_another_run(copied_run):
    from tools import train

    before = files_below('.')
    few_images = ['--cfg-options', 'data.train.rare_class_sampling.min_pixels=0']
    with pytest.raises(SystemExit, match='holds a run with other settings'):
        train.main([str(UDA_CONFIG), '--work-dir', copied_run.work_dir, *few_images])
    assert files_below('.') == before


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (None, ['file.pth', 'does not exist']),
        (b'', ['file.pth is no checkpoint', 'train it again']),
        (b'<html>not found</html>', ['file.pth is no checkpoint']),
        ('half', ['file.pth is no checkpoint']),
        (['a list'], ['file.pth holds a list']),
        ({'a.weight': torch.zeros(1)}, ['does not fit', 'missing: ', ', …']),
        ({'meta': {}, 'state_dict': {}}, ['does not fit']),
    ],
)
@pytest.mark.parametrize('tool', ['test', 'image_demo'])
def test_checkpoint_that_is_none(workplace, shared_run, tool, content, says):
    from demo import image_demo
    from tools import test

    if content == 'half':
        content = (shared_run.folder / shared_run.checkpoint).read_bytes()[:100_000]
    if isinstance(content, bytes):
        (workplace / 'file.pth').write_bytes(content)
    elif content is not None:
        torch.save(content, 'file.pth')
    config = str(shared_run.folder / shared_run.config)
    with refused(*says):
        if tool == 'test':
            test.main([config, 'file.pth', '--show-dir', 'shown'])
        else:
            image_demo.main([only(IMAGE), config, 'file.pth', '--out', 'out.png'])


@pytest.mark.parametrize(
    'content',
    [
        {'state_dict': {'weight': torch.zeros(1)}},
        # The published code's.
        {'state_dict': {'weight': torch.zeros(1)}, 'optimizer': {}, 'meta': {'iter': 9}},
    ],
)
def test_nothing_to_resume_from(workplace, content):
    from tools import train

    torch.save(content, 'weights.pth')
    options = ['data.train.rare_class_sampling.min_pixels=0']
    with refused('weights.pth', '--load-from'):
        train.main([str(UDA_CONFIG), '--resume-from', 'weights.pth', '--cfg-options', *options])


def test_state_of_another_network(workplace, shared_run):
    from tools import train

    checkpoint = str(shared_run.folder / shared_run.checkpoint)
    options = ['runner.max_iters=8', 'model.decode_head.channels=8']
    with pytest.raises(SystemExit, match=f'{checkpoint} does not fit the configured network: '):
        train.main(
            [str(shared_run.folder / shared_run.config), '--work-dir', 'other',
             '--resume-from', checkpoint, '--cfg-options', *options]
        )  # fmt: skip


def test_code_in_a_checkpoint_is_not_run(workplace, shared_run):
    from tools import test

    torch.save({'state_dict': _Malicious()}, 'file.pth')
    with refused('file.pth is no checkpoint'):
        test.main([str(shared_run.folder / shared_run.config), 'file.pth'])


class _Malicious:
    def __reduce__(self):
        return os.mkdir, ('harm',)


@pytest.mark.parametrize(
    ('name', 'content', 'says'),
    [('no.png', None, ['no.png', 'does not exist']), ('a.png', b'text', ['a.png', 'not an image'])],
)
def test_image_that_is_none(workplace, shared_run, name, content, says):
    from demo import image_demo

    if content:
        (workplace / name).write_bytes(content)
    run = shared_run.folder
    with refused(*says):
        image_demo.main([name, str(run / shared_run.config), str(run / shared_run.checkpoint)])


def test_teacher_of_a_segmentor_alone(workplace, shared_run):
    from tools import test

    weights = shared_run.load()['state_dict']
    student = {k.removeprefix('model.'): v for k, v in weights.items() if k.startswith('model.')}
    torch.save(student, 'student.pth')
    arguments = [str(shared_run.folder / shared_run.config), 'student.pth']
    with refused('no teacher', '--weights student'):
        test.main([*arguments, '--weights', 'teacher'])
    assert np.isclose(test.main(arguments)['mIoU'], shared_run.log('val')[-1]['mIoU'], atol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--confusion', 'x', '--format-only'], '--format-only'),
        (['--eval', 'mAP'], 'mIoU'),
        (['--weights', 'average'], 'teacher'),
        (['--eval-options', 'to_label_id=True'], '--format-only'),
    ],
)
def test_options_are_checked_before_predicting(trained_run, capsys, arguments, says):
    from tools import test

    with pytest.raises(SystemExit) as exit_info:
        test.main([trained_run.config, trained_run.checkpoint, *arguments])
    assert exit_info.value.code == 2 and says in capsys.readouterr().err


def predict_data(checkpoint, *options):
    from tools import test

    test.main([checkpoint, '--cfg-options', *options])


def predict_image(checkpoint, *options):
    from demo import image_demo

    image_demo.main([only(IMAGE), checkpoint, '--out', 'x.png', '--cfg-options', *options])


@pytest.mark.parametrize('predict', [predict_data, predict_image])
@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (['mode=slide'], "mode='slide' needs crop_size and stride"),
        (['mode=slide', 'crop_size=32,32', 'stride=48,32'], 'stride=[48, 32] leaves gaps'),
        (['mode=slide', 'crop_size=32', 'stride=48,32'], 'crop_size is 32; it has to be a pair'),
        (['mode=slided'], "mode is 'slided'; it has to be one of 'whole', 'slide'"),
        (['mode=None'], 'mode is None; it has to be one of'),
    ],
)
def test_windows_are_checked_before_predicting(workplace, shared_run, predict, options, says):
    with refused('model.test_cfg', says):
        checkpoint = str(shared_run.folder / shared_run.checkpoint)
        predict(checkpoint, *(f'model.test_cfg.{option}' for option in options))


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['run_experiments.py', '--config', CHECKOUT / GTA_CONFIG], 'data/gta.* is missing'),
        pytest.param(
            ['tools/train.py', 'broken.py'], 'broken.py cannot be read', marks=pytest.mark.long
        ),
        pytest.param(
            ['tools/test.py', CHECKOUT / GTA_CONFIG, 'no.pth'],
            'data/cityscapes.* is missing',
            marks=pytest.mark.long,
        ),
    ],
)
def test_mistake_in_a_process_of_its_own(tmp_path, arguments, says):
    (tmp_path / 'broken.py').write_text('model = foo\n')
    result = run_python(CHECKOUT / arguments[0], *arguments[1:], cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == ''
    assert re.fullmatch(rf'Error: .*{says}.*\n', result.stderr), result.stderr
    assert os.listdir(tmp_path) == ['broken.py']


def convert_gta(argv):
    from tools.convert_datasets import gta

    os.makedirs('gta/labels')
    with open('gta/labels/1.png', 'w') as file:
        file.write('no image')
    gta.main(['gta', *argv])


@pytest.mark.parametrize('shown', [False, True])
@pytest.mark.parametrize(
    ('tool', 'argv'),
    [
        ('tools.train', ['missing.py']),
        ('tools.check_dataset', ['missing.py']),
        ('tools.convert_datasets.custom', ['missing.py']),
        ('tools.report', ['nowhere']),
        ('tools.analyze_logs', ['nowhere']),
        ('run_experiments', ['--exp', '6', '--only', 'nothing']),
        (convert_gta, ['--nproc', '1']),
    ],
)
def test_the_environment_shows_tracebacks(tmp_path, monkeypatch, capsys, tool, argv, shown):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DAFORMER_TRACEBACK', str(int(shown)))
    main = tool if callable(tool) else importlib.import_module(tool).main
    with pytest.raises(SystemExit) as found:
        main(argv)
    assert found.value.code.startswith('Error: ')
    assert ('Traceback' in capsys.readouterr().err) == shown
