"""The report of a run: what is on the page for every kind of run."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.report_folders import add_log_line, write_records, write_run
from tools import report

SECTIONS = [
    'miou', 'classes', 'confusion', 'samples', 'losses', 'pseudo', 'sampling', 'mixes', 'settings',
    'environment',
]  # fmt: skip


class Page(HTMLParser):
    """A page as tests see it: sections, their text, and all attributes."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.sections, self.attributes, self._at = {'': ''}, [], ''
        self.feed(self.source)
        self.sections = {name: ' '.join(text.split()) for name, text in self.sections.items()}

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.attributes.append((tag, attributes))
        if tag in ('td', 'th', 'dt', 'dd', 'span'):
            self.sections[self._at] += ' '
        if tag == 'section':
            self._at = attributes['id']
            self.sections[self._at] = ''

    def handle_data(self, data):
        self.sections[self._at] += data

    @property
    def names(self):
        return list(self.sections)[1:]

    def count(self, **wanted):
        return sum(wanted.items() <= attributes.items() for _, attributes in self.attributes)


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
    folder = write_records(write_run(tmp_path / 'full'))
    add_log_line(folder, '{"mode": "train", "iter": 40, "pseudo_label_weight": 0.5, "time": 0.5}\n')
    return folder


def test_a_run_with_everything(full_run, page_of):
    page = page_of(full_run)
    assert page.names == SECTIONS
    assert page.count(**{'class': 'missing'}) == 0
    head = page.sections['']
    for text in ('daformer, seed 0', '40.0', 'finished', '2026-11-23 07:00', '40 of 40', '20 s',
                 'GTADataset, data/gta/images', 'CityscapesDataset, data/cityscapes/train',
                 'mit_b5 + DAFormerHead', 'DACS'):  # fmt: skip
        assert text in head, text
    assert 'torch 2.14.1' in page.sections['environment']
    # Four samples, three stages of each, six mixes of eight.
    assert page.count(**{'class': 'enlarges'}) == 4 + 4 * 3 + 4
    assert '4 more pictures in class_mix_debug/ were left out' in page.sections['mixes']


def test_confusions_in_words_and_numbers(full_run, page_of):
    confusion = page_of(full_run).sections['confusion']
    words = confusion[: confusion.index('share of pixels')]
    assert re.findall(r'\w+ taken for \w+: \d+ % of \w+', words) == [
        'sidewalk taken for road: 31 % of sidewalk',
        'train taken for road: 30 % of train',
        'train taken for sidewalk: 20 % of train',
        'road taken for sidewalk: 10 % of road',
    ]
    assert '(14.76% of all pixels)' in words
    assert 'sidewalk 31 69 47.62' in confusion


def test_rare_class_sampling_in_percent(full_run, page_of):
    sampling = page_of(full_run).sections['sampling']
    assert 'train 1.0 90.0 90.0 sidewalk 29.0 10.0 10.0 road 70.0 0.0 0.0' in sampling
    assert '80 source samples' in sampling and 'more than 3,000 pixels' in sampling


def test_a_run_of_older_code_says_what_is_missing(tmp_path, page_of):
    page = page_of(write_run(tmp_path / 'old'))
    assert page.names == SECTIONS
    for name, text in (('confusion', 'no evaluation/iter_….json'), ('samples', 'no evaluation/'),
                       ('pseudo', 'no pseudo_label_weight'), ('mixes', 'debug_img_interval'),
                       ('sampling', 'no rare_class_sampling.json')):  # fmt: skip
        assert text in page.sections[name], name
    assert '40.0' in page.sections['classes']


def test_a_source_only_run_has_no_sections_of_uda(tmp_path, page_of):
    page = page_of(write_run(tmp_path / 'source', uda=False))
    assert not {'pseudo', 'sampling', 'mixes'} & set(page.names)
    assert 'supervised' in page.sections['']


def test_a_run_that_goes_on(tmp_path, page_of):
    folder = write_run(tmp_path / 'run', mious=(0.25,))
    add_log_line(folder, '{"mode": "train", "iter": 30, "lr": 5e-5}\n{"mode": "val", "it')
    head = page_of(folder).sections['']
    assert 'iteration 30 of 40' in head and 'mIoU of iteration 20' in head and '25.0' in head


def test_a_run_without_evaluation(tmp_path, page_of):
    folder = write_run(tmp_path / 'run', mious=())
    page = page_of(folder)
    assert 'iteration 0 of 40, no evaluation yet' in page.sections['']
    for name in ('miou', 'classes', 'confusion', 'samples'):
        assert 'No evaluation yet' in page.sections[name], name
    assert 'Nothing logged yet' in page.sections['losses']


def test_of_a_resumed_run_the_later_log_counts(tmp_path, page_of):
    folder = write_run(tmp_path / 'run')
    lines = '{"exp_name": "x", "environment": {"device": "H100"}}\n' + (
        '{"mode": "val", "iter": 40, "mIoU": 0.6}\n'
    )
    (folder / '20261124_070000.log.json').write_text(lines)
    page = page_of(folder)
    assert '60.0 mIoU' in page.sections['']
    assert 'A: 60 at iteration 40' in page.sections['miou']
    assert 'A: 40 at' not in page.sections['miou']
    assert 'cpu, then H100' in page.sections['environment']


def test_differences_to_source_only_and_means_over_seeds(tmp_path, page_of):
    folders = [write_run(tmp_path / f's{seed}', seed=seed, mious=(0.1, 0.4 + seed / 10))
               for seed in (0, 1)]  # fmt: skip
    source = write_run(tmp_path / 'source', name='source', uda=False, mious=(0.1, 0.15))
    page = page_of(*folders, source)
    assert page.names[0] == 'runs'
    # The subject, its difference to source-only, the mean of both seeds, its difference, and C.
    assert 'mIoU 40.0 +25.0 45.0 ± 7.1 +30.0 15.0' in page.sections['classes']
    assert 'sidewalk 40.0 +25.0 45.0 ± 7.1 +30.0 15.0' in page.sections['classes']
    assert 'train – – – – –' in page.sections['classes']
    assert 'Dotted' not in page.sections['miou']


def test_where_a_source_only_run_is_shorter_its_last_value_is_held(tmp_path, page_of):
    source = write_run(tmp_path / 'source', name='source', uda=False, mious=(0.1,), max_iters=20)
    page = page_of(write_run(tmp_path / 'run'), source)
    assert 'Dotted' in page.sections['miou'] and page.count(**{'class': 'run-1 hold'}) == 1


def test_without_a_source_only_run_there_are_no_differences(tmp_path, page_of):
    folders = [write_run(tmp_path / name, name=name) for name in ('one', 'other')]
    assert 'mIoU 40.0 40.0' in page_of(*folders).sections['classes']


def test_settings_that_differ(tmp_path, page_of):
    one = write_run(tmp_path / 'one', optimizer={'lr': 6e-5, 'type': 'AdamW'}, git_rev='a')
    other = write_run(tmp_path / 'other', seed=3, optimizer={'lr': 1e-4, 'type': 'AdamW'})
    page = page_of(one, other)
    settings = page.sections['settings']
    assert '2 settings differ' in settings
    assert 'seed 0 3' in settings and 'optimizer.lr 6e-05 0.0001' in settings
    assert '(optimizer.lr=6e-05)' in page.sections['runs']


def test_predictions_beside_other_runs_on_the_same_images(full_run, tmp_path, page_of):
    same = write_records(write_run(tmp_path / 'same', seed=1))
    val = {'type': 'ACDCDataset', 'data_root': 'data/acdc'}
    other_data = write_run(tmp_path / 'other', seed=2, data={'train': {}, 'val': val})
    page = page_of(full_run, same, write_records(other_data))
    # Per image A, B and the truth, beside what a single run has.
    assert page.count(**{'class': 'enlarges'}) == 4 + 4 * 3 + 4 + 4 * 3
    assert 'Beside other runs' in page.sections['samples']


def test_a_folder_of_runs_and_the_same_run_twice(tmp_path, page_of):
    subject = write_run(tmp_path / 'runs' / 'z', name='subject')
    write_run(tmp_path / 'runs' / 'a', name='first')
    page = page_of(subject, tmp_path / 'runs')
    assert 'compared with 1 more' in page.sections[''] and 'subject, seed 0' in page.sections['']


def test_text_from_files_is_escaped(tmp_path, page_of):
    evil = '<script>alert(1)</script><img src="http://evil.example/x.png">'
    name = '<script>alert(1)<img src="x.png">'  # a file has it
    folder = write_run(tmp_path / 'run', name=name, load_from=evil)
    (folder / '20261123_070000.log').write_text(f'mmseg - WARNING - {evil}\n' * 2)
    write_records(folder)
    page = page_of(folder, write_run(tmp_path / 'other', name=name, seed=1))
    assert page.count(src='http://evil.example/x.png') == 0
    assert page.source.count('<script>') == 1
    assert '2 warnings in its log' in page.sections['environment']
    assert f'WARNING - {evil}' in page.sections['environment']


def test_nothing_outside_the_page_is_referred_to(full_run, page_of):
    page = page_of(full_run)
    addresses = [
        value for _, attributes in page.attributes for name, value in attributes.items()
        if name in ('src', 'href', 'srcset', 'data', 'action')
    ]  # fmt: skip
    assert addresses and all(value.startswith(('#', 'data:image/')) for value in addresses)
    assert '@import' not in page.source and 'url(http' not in page.source


def test_the_page_stays_small(tmp_path, page_of):
    noise = np.random.default_rng(0)
    iterations = (10, 20, 30, 40)
    folders = [write_records(write_run(tmp_path / str(seed), seed=seed), iterations, noise=noise)
               for seed in (0, 1)]  # fmt: skip
    page = page_of(*folders)
    assert len(page.source) < 8_000_000
    assert '10 more pictures' in page.sections['mixes']


def test_half_written_pictures_are_named_on_the_page(full_run, page_of):
    pictures = ('class_mix_debug/000040_0.png', 'evaluation/iter_000040_2.png')
    for name, size in zip(pictures, (20, 60), strict=True):
        content = (full_run / name).read_bytes()
        assert len(content) > size
        (full_run / name).write_bytes(content[:size])
    page = page_of(full_run)
    assert '000040_0.png cannot be read' in page.sections['mixes']
    assert 'iter_000040_2.png cannot be read' in page.sections['samples']
    # The one mix; the sample, its last stage and the truth, which is taken from the last.
    assert page.count(**{'class': 'enlarges'}) == 4 + 4 * 3 + 4 - 4


def test_of_a_real_run(trained_run, tmp_path):
    path = report.main([trained_run.work_dir, '--out', str(tmp_path / 'report.html')])
    page = Page(tmp_path / 'report.html')
    assert path == str(tmp_path / 'report.html') and page.names == SECTIONS
    assert page.count(**{'class': 'missing'}) == 0
    assert 'Feature distance to ImageNet' in page.sections['losses']
    (last,) = (entry for entry in trained_run.log('val') if entry['iter'] == 4)
    assert f'{100 * last["mIoU"]:.1f} mIoU' in page.sections['']
