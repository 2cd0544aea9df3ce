"""The report of runs: what is on the page, and what is refused in one line."""

import base64
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_mistakes import refused
from tools import report, test

SECTIONS = [
    'runs', 'miou', 'classes', 'confusion', 'samples', 'losses', 'pseudo', 'sampling', 'mixes',
    'settings',
]  # fmt: skip
CLASSES = ['road', 'sidewalk', 'train']
SOURCE = {'type': 'GTADataset', 'data_root': 'data/gta/', 'img_dir': 'images'}
TARGET = {'type': 'CityscapesDataset', 'data_root': 'data/cityscapes/', 'img_dir': 'val'}


def write_run(
    folder, name='daformer', seed=0, mious=(0.2, 0.4), max_iters=40, uda=True, **settings
):
    """Write config and logs of a run with an evaluation every 20 iterations; returns the folder."""
    folder.mkdir(parents=True)
    train = {'type': 'UDADataset', 'source': SOURCE, 'target': TARGET} if uda else SOURCE
    model = {'backbone': {'type': 'mit_b5'}, 'decode_head': {'type': 'DAFormerHead'}}
    config = {
        'name': name, 'seed': seed, 'git_rev': 'abc1234', 'runner': {'max_iters': max_iters},
        'model': model, 'data': {'samples_per_gpu': 2, 'train': train, 'val': TARGET},
        **({'uda': {'type': 'DACS', 'alpha': 0.999}} if uda else {}), **settings,
    }  # fmt: skip
    (folder / f'{name}.json').write_text(json.dumps(config))
    entries = [{'exp_name': name, 'environment': {'torch': '2.14.1', 'device': 'cpu'}}]
    for number, miou in enumerate(mious):
        for iteration in (20 * number + 10, 20 * number + 20):
            logged = {'lr': 6e-5, 'time': 0.5, 'decode.loss_ce': 1.5, 'pseudo_label_weight': 0.5}
            entries.append({'mode': 'train', 'iter': iteration, **logged})
        ious = {'IoU.road': 0.9, 'IoU.sidewalk': miou, 'IoU.train': float('nan')}
        entries.append({'mode': 'val', 'iter': iteration, 'mIoU': miou, **ious})
    lines = ''.join(f'{json.dumps(entry)}\n' for entry in entries)
    (folder / '20261123_070000.log.json').write_text(lines)
    return folder


def write_records(folder):
    """Add what a run leaves beside its logs: evaluations, images, the draws of RCS."""
    for name in ('evaluation', 'class_mix_debug'):
        (folder / name).mkdir()
    content = {'classes': CLASSES, 'confusion': [[9, 1, 0], [3, 7, 0], [0, 0, 0]]}
    image = Image.fromarray(np.full((12, 80, 3), 90, np.uint8))
    for iteration in (20, 30, 40):
        (folder / f'evaluation/iter_{iteration:06d}.json').write_text(json.dumps(content))
        for number in range(4):
            image.save(folder / f'evaluation/iter_{iteration:06d}_{number}.png')
            image.save(folder / f'class_mix_debug/{iteration:06d}_{number}.png')
    drawing = {'classes': CLASSES, 'share': [0.7, 0.29, 0.01], 'wanted': [0.0, 0.1, 0.9],
               'drawn': [0, 8, 72]}  # fmt: skip
    (folder / 'evaluation/rare_class_sampling.json').write_text(json.dumps(drawing))
    return folder


def add_log_line(folder, text):
    with open(folder / '20261123_070000.log.json', 'a') as file:
        file.write(text)


class Page(HTMLParser):
    """A page as tests see it: the text of each section, its images, and all addresses."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.sections, self.images, self.addresses, self._at = {'': ''}, {}, [], ''
        self.feed(self.source)
        self.sections = {name: ' '.join(text.split()) for name, text in self.sections.items()}

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == 'section':
            self._at = attributes['id']
            self.sections[self._at] = ''
        if tag == 'img':
            self.images.setdefault(self._at, []).append(attributes['src'])
        self.addresses += [attributes[name] for name in ('src', 'href') if name in attributes]

    def handle_data(self, data):
        self.sections[self._at] += f' {data}'

    @property
    def names(self):
        return list(self.sections)[1:]


@pytest.fixture
def page_of():
    """Makes the report of folders and reads it."""

    def make(*folders):
        path = folders[0] / 'report.html'
        assert report.main([str(folder) for folder in folders]) == str(path)
        return Page(path)

    return make


@pytest.fixture
def full_run(tmp_path):
    """A run with every file that the report reads."""
    return write_records(write_run(tmp_path / 'full'))


def test_a_run_with_everything(full_run, page_of):
    page = page_of(full_run)
    assert page.names == SECTIONS and 'class="missing"' not in page.source
    assert 'daformer, seed 0 40.0 mIoU (%), finished' in page.sections['']
    for text in ('configuration daformer seed 0', 'training time 0:00:20',
                 'GTADataset, data/gta/', 'CityscapesDataset, data/cityscapes/',
                 'method DACS'):  # fmt: skip
        assert text in page.sections['runs'], text
    assert 'sidewalk 40.0 train – mIoU 40.0' in page.sections['classes']
    # Four samples and two mixes at the first and the last evaluation.
    counts = {name: len(images) for name, images in page.images.items()}
    plots = ('miou', 'classes', 'confusion', 'losses', 'pseudo', 'sampling')
    assert counts == dict.fromkeys(plots, 1) | {'samples': 8, 'mixes': 4}


def test_losses_are_those_of_any_method_and_no_norms():
    names = ('loss', 'src.grad.decode.loss_ce', 'G_trg.loss.main', 'mix.decode.loss_ce', 'mIoU')
    assert report.losses_of(names) == ['G_trg.loss.main', 'mix.decode.loss_ce']


def test_plots_and_images_can_be_opened(full_run, page_of):
    for image in itertools.chain(*page_of(full_run).images.values()):
        kind, data = re.fullmatch(r'data:image/(.+);base64,(.+)', image).groups()
        start = b'\xff\xd8' if kind == 'jpeg' else b'<?xml version="1.0"'
        assert base64.b64decode(data).startswith(start)


def test_what_a_run_did_not_record_is_named(tmp_path, page_of):
    page = page_of(write_run(tmp_path / 'run', mious=()))
    assert page.names == SECTIONS
    assert 'iteration 0 of 40' in page.sections['']
    for name, text in (('miou', 'No evaluation yet'), ('classes', 'No evaluation yet'),
                       ('confusion', 'No evaluation'), ('samples', 'evaluation/'),
                       ('losses', 'Nothing logged'), ('pseudo', 'Nothing logged'),
                       ('mixes', 'debug_img_interval'),
                       ('sampling', 'rare_class_sampling.json')):  # fmt: skip
        assert text in page.sections[name], name


def test_a_source_only_run_has_no_sections_of_uda(tmp_path, page_of):
    page = page_of(write_run(tmp_path / 'source', uda=False))
    assert not {'pseudo', 'sampling', 'mixes'} & set(page.names)
    assert 'method supervised' in page.sections['runs']


def test_a_run_in_progress(tmp_path, page_of):
    folder = write_run(tmp_path / 'run', mious=(0.25,))
    add_log_line(folder, '{"mode": "train", "iter": 30, "lr": 5e-5}\n{"mode": "val", "it')
    head = page_of(folder).sections['']
    assert '25.0 mIoU (%), iteration 30 of 40' in head


def test_differences_to_the_last_run(tmp_path, page_of):
    folder = write_run(tmp_path / 'uda', mious=(0.1, 0.4))
    source = write_run(tmp_path / 'source', name='source', uda=False, mious=(0.1, 0.15))
    classes = page_of(folder, source).sections['classes']
    assert 'class run 1 run 2' in classes
    assert 'sidewalk 40.0 (+25.0) 15.0' in classes
    assert 'train – –' in classes and 'mIoU 40.0 (+25.0) 15.0' in classes


def test_settings_that_differ(tmp_path, page_of):
    one = write_run(tmp_path / 'one', optimizer={'lr': 6e-5, 'type': 'AdamW'}, git_rev='a')
    other = write_run(tmp_path / 'other', seed=3, optimizer={'lr': 1e-4, 'type': 'AdamW'})
    page = page_of(one, other)
    table = page.sections['settings'].partition('Settings in which')[0]
    assert table.split('run 2')[1].split() == ['seed', '0', '3', 'optimizer.lr', '6e-05', '0.0001']


def test_predictions_of_several_runs(full_run, tmp_path, page_of):
    page = page_of(full_run, write_records(write_run(tmp_path / 'other', seed=1)))
    assert len(page.images['samples']) == 16
    assert 'run 2, iteration 40' in page.sections['samples']


def test_a_folder_of_runs_and_the_same_run_twice(tmp_path, page_of):
    subject = write_run(tmp_path / 'runs' / 'z', name='subject')
    write_run(tmp_path / 'runs' / 'a', name='first')
    page = page_of(subject, tmp_path / 'runs')
    assert 'subject, seed 0' in page.sections['']
    assert 'run 1 run 2 configuration subject first seed 0 0 mIoU' in page.sections['runs']


def test_text_from_files_is_escaped(tmp_path, page_of):
    evil = '<script>alert(1)</script><img src="http://evil.example/x.png">'
    name = '<script>alert(1)<img src="x.png">'  # a file has it
    folder = write_run(tmp_path / 'run', name=name, load_from=evil)
    page = page_of(folder, write_run(tmp_path / 'other', name=name, seed=1))
    assert '<script' not in page.source and 'src="http' not in page.source
    assert json.dumps(evil) in page.sections['settings'] and name in page.sections['runs']


def test_nothing_outside_the_page_is_referred_to(full_run, page_of):
    page = page_of(full_run)
    assert page.addresses
    assert all(address.startswith(('#', 'data:image/')) for address in page.addresses)
    assert '@import' not in page.source and 'url(' not in page.source


def _half_an_image(folder):
    write_records(folder)
    path = folder / 'evaluation/iter_000040_2.png'
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ('damage', 'says'),
    [
        (lambda folder: add_log_line(folder, 'no json\n{}\n'), 'log.json is no JSON log: '),
        (lambda folder: (folder / 'daformer.json').unlink(), 'run holds no run'),
        (lambda folder: (folder / 'report.html').mkdir(), 'report.html cannot be written'),
        (_half_an_image, 'iter_000040_2.png cannot be read'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, monkeypatch, damage, says):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / 'run')
    damage(folder)
    with refused(says):
        report.main([str(folder)])


def test_of_a_real_run(trained_run, tmp_path):
    path = report.main([trained_run.work_dir, '--out', str(tmp_path / 'new' / 'report.html')])
    page = Page(tmp_path / 'new' / 'report.html')
    assert path == str(tmp_path / 'new' / 'report.html') and page.names == SECTIONS
    assert 'class="missing"' not in page.source
    last = trained_run.log('val')[-1]
    assert f'{100 * last["mIoU"]:.1f} mIoU' in page.sections['']


def test_reliability_diagrams_of_a_test(copied_run):
    folder = f'{copied_run.work_dir}/reliability'
    assert 'Calibration' not in Path(report.main([copied_run.work_dir])).read_text()
    test.main([copied_run.checkpoint, '--reliability', folder])
    assert 'Calibration: data.test_student' in Path(report.main([copied_run.work_dir])).read_text()
