"""Two domains of one's own, from folders to predictions, described by a config alone."""

import json
import re
import shlex
from glob import glob
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import run_experiments
from demo import image_demo
from mmseg.engine.trained import load_trained
from mmseg.utils.drawing import distinct_palette
from tests.own_domains import blocks, config_of, own_domains, save_colors, write_images
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, TrainedRun
from tools import check_dataset, make_own_domains, test
from tools.convert_datasets import custom

pytestmark = pytest.mark.usefixtures('one_thread')
PAGE = CHECKOUT / 'docs/own_data.md'
NAMES = ['thing', 'road', 'sky', 'car']
IDS = dict(thing=[3, 200], road=17, sky=0, car=[26, 27])
MAINS = {
    'tools/make_own_domains.py': make_own_domains.main,
    'tools/convert_datasets/custom.py': custom.main,
    'tools/check_dataset.py': check_dataset.main,
    'run_experiments.py': run_experiments.main,
}
FEW = ['--num-source', '8', '--num-target', '4', '--num-val', '2']
SHORT = [
    '--cfg-options', 'runner.max_iters=2', 'evaluation.interval=2', 'data.workers_per_gpu=0',
    'data.samples_per_gpu=2', 'uda.imnet_feature_dist_lambda=0.005', 'uda.debug_img_interval=1',
    'model.decode_head.channels=16', 'model.decode_head.decoder_params.embed_dims=16',
]  # fmt: skip
MORE = {
    'tools/make_own_domains.py': FEW,
    'tools/convert_datasets/custom.py': ['--nproc', '1'],
    'run_experiments.py': SHORT,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_line(line):
    """Run a command of the page here, made small; what its ``main`` returns."""
    program, *arguments = shlex.split(line)
    arguments = [glob(word)[0] if '*' in word else word for word in arguments]
    if program == 'sh':
        (run,) = arguments[1:]
        configs = glob(f'{run}/*own_data*.json')
        return test.main([configs[0], f'{run}/latest.pth', '--show-dir', f'{run}/preds'])
    if arguments[0] == '-m':
        assert arguments[1] == 'demo.image_demo'
        return image_demo.main(arguments[2:])
    return MAINS[arguments[0]]([*arguments[1:], *MORE.get(arguments[0], [])])


@pytest.mark.long
def test_the_page(folder, capsys):
    text = PAGE.read_text(encoding='utf-8')
    commands = re.search(r'```sh\n(.*?)```', text, re.DOTALL)[1].splitlines()
    assert len(commands) == 6
    found = {}
    # What runs write must not go through the link: only configs/generated is written there.
    (folder / 'configs/generated').mkdir(parents=True)
    for part in ('_base_', 'own_data'):
        (folder / 'configs' / part).symlink_to(CHECKOUT / 'configs' / part)
    for line in commands:
        found[line.split()[1]] = run_line(line)

    shown = capsys.readouterr().out
    assert re.search(r'Not in id_map, .*\b4: \d+ pixels', shown)  # the pavement's id
    assert 'no problems found' in shown
    metrics = found['test.sh']
    assert {key for key in metrics if key.startswith('IoU.')} == {
        'IoU.sky', 'IoU.vehicle', 'IoU.plant', 'IoU.road',
    }  # fmt: skip
    colors = {(120, 180, 240), (220, 30, 30), (60, 160, 40), (90, 90, 90)}
    for picture in ('own.png', 'work_dirs/own_data/preds/0000.png'):
        assert colors_of(picture) <= colors
    checkpoint = torch.load('work_dirs/own_data/latest.pth', weights_only=True)
    assert checkpoint['meta']['CLASSES'] == ['sky', 'vehicle', 'plant', 'road']
    weights = checkpoint['state_dict']
    assert weights['model.decode_head.conv_seg.weight'].shape[0] == 4

    # Code blocks of the page are the config's.
    config = Path('configs/own_data/street_scenes_4_classes.py').read_text()
    for block in re.findall(r'```python\n(.*?)```', text, re.DOTALL):
        assert all(line.strip() in config for line in block.splitlines())


def colors_of(path):
    pixels = np.array(Image.open(path).convert('RGB')).reshape(-1, 3)
    return {tuple(color) for color in np.unique(pixels, axis=0).tolist()}


def train_own(config):
    custom.main([config, '--nproc', '1'])
    run_experiments.main(['--config', config])
    return TrainedRun(Path())


@pytest.mark.parametrize('save', [None, pytest.param(save_colors, marks=pytest.mark.long)])
def test_23_classes_in_an_order_of_their_own(folder, save):
    """Nothing of Cityscapes shines through, where there are more classes, some of its names."""
    classes = [f'kind {i}' for i in range(20)] + ['sky', 'road', 'car']
    ids = {name: 10 + 3 * i for i, name in enumerate(classes)}
    stated = own_domains(classes, ids, **({} if save is None else {'save': save}))
    things = dict(imnet_feature_dist_classes=['kind 7', 'car'], imnet_feature_dist_lambda=0.005)
    ratio = dict(imnet_feature_dist_scale_min_ratio=0.75)
    run = train_own(config_of(**stated, uda={**things, **ratio}))

    config = json.loads(Path(run.config).read_text())
    assert config['uda']['imnet_feature_dist_classes'] == [7, 22]
    assert config['model']['decode_head']['num_classes'] == 23
    label = np.array(Image.open('mine/masks/day_1/001_labelTrainIds.png'))
    train_ids = {10 + 3 * i: i for i in range(23)} | {201: 255}
    expected = np.vectorize(train_ids.get)(blocks(1, [*ids.values(), 201]))
    assert np.array_equal(label, expected)
    (evaluation,) = run.log('val')
    assert [key[4:] for key in evaluation if key.startswith('IoU.')] == classes

    found = test.main([run.config, run.checkpoint, '--show-dir', 'preds'])
    predicted = run.predict(cv2.imread('theirs/val/day_1/001.jpg'))
    palette = np.array(distinct_palette(23))
    picture = np.array(Image.open('preds/day_1/001.png'))
    assert (picture == palette[predicted]).mean() > 0.99
    assert sum(key.startswith('IoU.') for key in found) == 23
    assert classes == load_trained(None, run.checkpoint, torch.device('cpu')).CLASSES

    with pytest.raises(SystemExit, match="to_label_id=True is for all of Cityscapes' classes"):
        test.main([run.config, run.checkpoint, '--format-only', '--eval-options',
                   'to_label_id=True'])  # fmt: skip
    test.main([run.config, run.checkpoint, '--format-only'])
    assert (Path(run.work_dir) / 'labelTrainIds/001.png').is_file()


def test_a_target_without_any_label(folder, capsys):
    stated = own_domains(NAMES, IDS)
    stated.pop('val')
    run = train_own(config_of(**stated))
    assert not run.log('val')
    capsys.readouterr()
    test.main([run.config, run.checkpoint, '--format-only', '--show-dir', 'preds'])
    colors = {tuple(color) for color in distinct_palette(4)}
    assert colors_of('preds/day_0/000.png') <= colors
    assert np.array(Image.open(f'{run.work_dir}/labelTrainIds/000.png')).max() < 4


def test_a_checkpoint_of_another_class_list_is_refused(folder):
    run = train_own(config_of(**own_domains(NAMES, IDS)))
    content = json.loads(Path(run.config).read_text())
    text = json.dumps(content).replace(json.dumps(NAMES), json.dumps(NAMES[::-1]))
    Path('reversed.json').write_text(text)
    says = r'^Error: .*was trained on other classes \(thing, road, sky, car\) than those'
    with pytest.raises(SystemExit, match=says):
        test.main(['reversed.json', run.checkpoint])


def test_training_refuses_labels_of_another_map(folder):
    stated = own_domains(NAMES, IDS)
    custom.main([config_of(**stated), '--nproc', '1'])
    stated['classes'] = ['thing', 'car', 'road', 'sky']
    config = config_of(**stated)
    with refused('mine/masks: 4 of 4 labels read were made with another id_map or class list',
                 'python tools/convert_datasets/custom.py own.json'):  # fmt: skip
        run_experiments.main(['--config', config])
    custom.main(['own.json', '--nproc', '1'])
    check_dataset.main(['own.json'])


def test_messages_name_the_converter(folder):
    stated = own_domains(NAMES, IDS)
    config = config_of(**stated)
    with refused('mine/masks: 4 of 4 images have no label',
                 'train ids with: python tools/convert_datasets/custom.py own.json'):  # fmt: skip
        run_experiments.main(['--config', config])
    for data_set in ('source', 'val'):
        del stated[data_set]['id_map']
    config = config_of(**stated)
    with refused('neither 0..3 nor 255', 'Say in own.json which id or colour',
                 'custom.py own.json'):  # fmt: skip
        run_experiments.main(['--config', config])


def test_labels_beside_their_images_are_no_images(folder):
    stated = own_domains(NAMES, IDS)
    write_images('theirs/train', 2, suffix='.png')
    for name in ('day_0/000', 'day_1/001'):
        Image.new('L', (192, 160)).save(f'theirs/train/{name}_mask.png')
        Image.new('L', (192, 160)).save(f'theirs/train/{name}_labelTrainIds.png')
    stated['target'].update(img_suffix='.png', seg_map_suffix='_mask.png')
    custom.main([config_of(**stated), '--nproc', '1'])
    from mmseg.datasets import build_dataset
    from mmseg.engine.config import load_config

    target = build_dataset(load_config('own.json').data.train.target)
    assert [info['filename'] for info in target.img_infos] == ['day_0/000.png', 'day_1/001.png']
