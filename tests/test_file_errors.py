"""Image and label files: one decoding rule, and errors that name the file and what is wrong."""

import errno
import io
import os
import re
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg.datasets.file_errors import (
    FileLoader,
    LoadTrainIds,
    build_files,
    image_loader,
    read_image,
)
from mmseg.datasets.pipelines import LoadAnnotations, LoadImageFromFile
from mmseg.engine.checks.data import DatasetUse, check_dataset
from mmseg.engine.predict import TestSamples
from mmseg.utils.files import IMAGE_ENDINGS
from mmseg.utils.user_error import UserError

HEIGHT, WIDTH = 48, 64
ORIENTATION = 0x112


def picture():
    """RGB, smooth, so that JPEG changes it little; not symmetric, all values from 0 to 255."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    found = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    found[0, 0], found[0, 1] = 0, 255
    return found


RGB = picture()
GREY = np.asarray(Image.fromarray(RGB).convert('L'))
ALPHA = np.arange(WIDTH, dtype=np.uint8) * np.ones((HEIGHT, 1), np.uint8)


def pillow(image, kind, **options):
    """Encoded by Pillow."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def opencv(array, ending='.png'):
    """Encoded by OpenCV, which knows 16 bits and three channels; an RGB array."""
    array = array[..., [2, 1, 0, 3][: array.shape[2]]] if array.ndim == 3 else array
    return cv2.imencode(ending, array)[1].tobytes()


def turned(kind, **options):
    """On its side, with the note that a viewer has to turn it."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return pillow(Image.fromarray(RGB).transpose(Image.ROTATE_90), kind, exif=exif, **options)


def animated(kind, **options):
    mirrored = Image.fromarray(RGB[:, ::-1].copy())
    return pillow(RGB, kind, save_all=True, append_images=[mirrored], duration=99, **options)


def palette():
    return Image.fromarray(RGB).quantize(255)


def of_depth(array, bits):
    return np.round(array * ((2**bits - 1) / 255)).astype(np.uint16)


LOSSLESS = dict(lossless=True, exact=True)
# Encoded file, expected RGB, largest mean difference.
KINDS = {
    'png': (pillow(RGB, 'PNG'), RGB, 0),
    'bmp': (pillow(RGB, 'BMP'), RGB, 0),
    'tiff': (pillow(RGB, 'TIFF'), RGB, 0),
    'webp': (pillow(RGB, 'WEBP', **LOSSLESS), RGB, 0),
    'ppm': (pillow(RGB, 'PPM'), RGB, 0),
    'jpeg': (pillow(RGB, 'JPEG', quality=95), RGB, 3),
    'turned jpeg': (turned('JPEG', quality=95), RGB, 3),
    'turned png': (turned('PNG'), RGB, 0),
    'turned webp': (turned('WEBP', **LOSSLESS), RGB, 0),
    'grey': (pillow(GREY, 'PNG'), GREY[..., None], 0),
    'grey jpeg': (pillow(GREY, 'JPEG', quality=95), GREY[..., None], 2),
    'grey, alpha': (pillow(np.dstack([GREY, ALPHA]), 'PNG'), GREY[..., None], 0),
    'alpha': (pillow(np.dstack([RGB, ALPHA]), 'PNG'), RGB, 0),
    'alpha, webp': (pillow(np.dstack([RGB, ALPHA]), 'WEBP', **LOSSLESS), RGB, 0),
    'palette': (pillow(palette(), 'PNG'), palette().convert('RGB'), 0),
    'palette, alpha': (pillow(palette(), 'PNG', transparency=3), palette().convert('RGB'), 0),
    'black and white': (
        pillow(Image.fromarray(GREY).convert('1'), 'PNG'),
        np.asarray(Image.fromarray(GREY).convert('1'))[..., None] * 255,
        0,
    ),
    '16 bits': (opencv(of_depth(RGB, 16)), RGB, 0),
    '16 bits, tiff': (opencv(of_depth(RGB, 16), '.tiff'), RGB, 0),
    '16 bits, grey': (opencv(of_depth(GREY, 16)), GREY[..., None], 0),
    '16 bits, alpha': (opencv(of_depth(np.dstack([RGB, ALPHA]), 16)), RGB, 0),
    'cmyk jpeg': (pillow(Image.fromarray(RGB).convert('CMYK'), 'JPEG', quality=95), RGB, 3),
    'cmyk tiff': (pillow(Image.fromarray(RGB).convert('CMYK'), 'TIFF'), RGB, 0),
    'gif': (pillow(palette(), 'GIF'), palette().convert('RGB'), 0),
    'animated gif': (animated('GIF'), RGB, 6),
    'animated webp': (animated('WEBP', **LOSSLESS), RGB, 0),
    'animated png': (animated('PNG'), RGB, 0),
}


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_the_same_image(tmp_path, kind):
    content, expected, tolerance = KINDS[kind]
    path = tmp_path / 'file'  # the content decides, not the name
    path.write_bytes(content)
    found = read_image(str(path))
    assert found.dtype == np.uint8 and found.shape == (HEIGHT, WIDTH, 3)
    difference = np.abs(found[..., ::-1].astype(int) - np.asarray(expected).astype(int))
    assert difference.mean() <= tolerance  # a wrong turn or order of channels is above 30


# One decoding rule


def data_set(root, load, **changes):
    """Images x.png with labels x.png below ``root``, as training loads them; see SAVED."""
    pipeline = [load, dict(type='LoadAnnotations', **changes.pop('load_labels', {}))]
    config = dict(
        type='CustomDataset', data_root=str(root), img_dir='images', ann_dir='labels',
        img_suffix='.png', classes=['a', 'b', 'c'], pipeline=pipeline,
    )  # fmt: skip
    return {**config, **changes}


PLAIN = dict(type='LoadImageFromFile')
IN_RANGE = dict(type='LoadImageInRange', value_range=(0, 4095))


@pytest.fixture
def root(tmp_path):
    """One image of 12 bits in a file of 16, turned by nothing, and its label of three classes."""
    save(tmp_path / 'images/x.png', of_depth(RGB, 12))
    save(tmp_path / 'labels/x.png', (np.arange(WIDTH) % 3 * np.ones((HEIGHT, 1))).astype(np.uint8))
    return tmp_path


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(opencv(array))


@pytest.mark.parametrize(('load', 'error'), [(PLAIN, None), (IN_RANGE, 1)])
def test_training_tests_and_demo_see_the_same_pixels(root, load, error):
    path = str(root / 'images/x.png')
    config = data_set(root, load)
    trained = build_files(config)[0]['img']
    tested = build_files(dict(config, pipeline=[load]), dict(test_mode=True))[0]['img']
    shown = read_image(path, image_loader([load]))
    assert np.array_equal(trained, tested) and np.array_equal(trained, shown)
    if error is not None:
        assert np.abs(trained[..., ::-1].astype(int) - RGB).max() <= error


def test_a_range_is_the_same_for_every_image(tmp_path):
    """A dark image is not brightened, what is outside is clipped, and 8 bits stay as they are."""
    load = image_loader([dict(type='LoadImageInRange', value_range=(1000, 2000))])
    stored = np.array([[0, 1000, 1100, 2000, 60000]], np.uint16).repeat(3, axis=0)
    (tmp_path / 'x.tiff').write_bytes(opencv(stored, '.tiff'))
    assert read_image(str(tmp_path / 'x.tiff'), load)[0, :, 0].tolist() == [0, 0, 26, 255, 255]
    (tmp_path / 'y.png').write_bytes(KINDS['png'][0])
    assert np.array_equal(read_image(str(tmp_path / 'y.png'), load)[..., ::-1], RGB)
    with pytest.raises(UserError, match='value_range'):
        image_loader([dict(type='LoadImageInRange', value_range=(5, 5))])


def problems(config):
    use = DatasetUse('data.train', config, True, num_classes=3)
    return check_dataset(use).problems


@pytest.mark.parametrize('bits', [9, 10, 12, 14])
def test_unused_bits_are_reported_with_the_mend(root, bits):
    save(root / 'images/x.png', of_depth(RGB, bits))
    (problem,) = problems(data_set(root, PLAIN))
    assert '1 of 1 images read hold 16 bits' in problem
    mend = eval(re.search(r'LoadImageFromFile.*?(dict\(.*\))', problem)[1])
    assert mend == dict(IN_RANGE, value_range=(0, 2**bits - 1))
    assert problems(data_set(root, mend)) == []
    assert problems(data_set(root, dict(mend, value_range=(0, 65535)))) == []  # as stated: night


@pytest.mark.parametrize(
    ('image', 'name'),
    [(of_depth(RGB, 16), '16 bits'), (RGB // 8, 'dark'), (of_depth(GREY, 16), 'grey')],
)
def test_bits_that_are_used_are_not_reported(root, image, name):
    save(root / 'images/x.png', image)
    assert problems(data_set(root, PLAIN)) == []


def test_check_reads_images_as_training_does(root):
    """Pillow cannot open colours of 16 bits in a TIFF, OpenCV not Targa files."""
    config = dict(data_set(root, PLAIN), img_suffix='.tiff')
    (root / 'images/x.tiff').write_bytes(opencv(of_depth(RGB, 16), '.tiff'))
    assert problems(config) == []
    (root / 'images/x.tiff').write_bytes(pillow(RGB, 'TGA'))
    (problem,) = problems(config)
    assert 'x.tiff (LoadImageFromFile' in problem and 'cannot decode it' in problem


# Files that cannot be read

LABEL = pillow(GREY, 'PNG')
BOMB = pillow(Image.new('1', (20000, 10000)), 'PNG')
BROKEN = {
    'nothing': b'',
    'text': b'<!DOCTYPE html>',
    'zeros': bytes(5000),
    'half': LABEL[: len(LABEL) // 2],
    'header': LABEL[:20],
    'damaged in the middle': LABEL.replace(b'IDAT', b'IDAT\xff\xff\xff', 1)[:-3],
    'tiff': KINDS['tiff'][0][:900],
}


def loaded(load, path):
    """What a wrapped loader makes of an image, or a label, of this path."""
    if isinstance(load, LoadAnnotations):
        dataset = SimpleNamespace(CLASSES=range(255), ignore_index=255, label_map=None)
        results = dict(ann_info=dict(seg_map=str(path)), seg_fields=[])
        return FileLoader(LoadTrainIds(load, dataset, False))(results)['gt_semantic_seg']
    return FileLoader(load)(dict(img_prefix=None, img_info=dict(filename=str(path))))['img']


LOADERS = {
    'image by opencv': LoadImageFromFile(),
    'image by pillow': LoadImageFromFile(imdecode_backend='pillow'),
    'label': LoadAnnotations(),
}


@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize('kind', BROKEN)
def test_damaged_files_are_called_so(tmp_path, loader, kind):
    path = tmp_path / 'x.png'
    path.write_bytes(BROKEN[kind])
    with pytest.raises(UserError, match=r'x\.png cannot be read: damaged, or not an image[^\n]*$'):
        loaded(LOADERS[loader], path)


def test_a_format_that_pillow_alone_reads(tmp_path):
    (tmp_path / 'x.png').write_bytes(pillow(RGB, 'TGA'))
    with pytest.raises(UserError, match=r"not an image for OpenCV; imdecode_b.*'pillow'"):
        loaded(LoadImageFromFile(), tmp_path / 'x.png')
    as_it_says = loaded(LoadImageFromFile(imdecode_backend='pillow'), tmp_path / 'x.png')
    assert np.array_equal(as_it_says[..., ::-1], RGB)


def test_what_counts_as_an_image_can_be_read(tmp_path):
    kinds = Image.registered_extensions()
    for ending in IMAGE_ENDINGS:
        path = str(tmp_path / f'x{ending}')
        if kinds.get(ending) in Image.SAVE:  # some builds of Pillow do without AVIF
            Image.fromarray(GREY).save(path)
            assert cv2.haveImageReader(path), path


def test_other_reasons_are_called_by_their_names(tmp_path, monkeypatch):
    def fails(self, path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / 'bomb.png').write_bytes(BOMB)
    for path, says in (
        ('none.png', 'No such file'),
        ('', 'Is a directory'),
        ('bomb.png', 'exceeds'),
    ):
        with pytest.raises(UserError, match=rf'cannot be read: .*{says}'):
            loaded(LoadAnnotations(), tmp_path / path)
    monkeypatch.setattr('mmcv.fileio.file_client.HardDiskBackend.get', fails)
    with pytest.raises(UserError, match=r'bomb\.png cannot be read: Input/output error'):
        loaded(LoadImageFromFile(), tmp_path / 'bomb.png')


class OwnImages(LoadImageFromFile):
    """A loading transform of the user's own; ``raises`` stands for a bug in it."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def __call__(self, results):
        results = super().__call__(results)
        raise self.error


BUGS = (
    MemoryError(), AttributeError('shape'), KeyError('img'), ValueError('axes'),
    FileNotFoundError(errno.ENOENT, 'No such file', 'calibration.txt'),
)  # fmt: skip


@pytest.mark.parametrize('error', BUGS, ids=lambda error: type(error).__name__)
def test_bugs_and_full_memory_are_no_damage(tmp_path, error):
    path = tmp_path / 'x.png'
    path.write_bytes(LABEL)
    with pytest.raises(type(error)) as found:
        loaded(OwnImages(error), path)
    assert found.value is error
    if not isinstance(error, MemoryError):
        assert str(path) in error.__notes__[0]


def test_full_memory_says_nothing_of_the_file(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    (tmp_path / 'x.png').write_bytes(BROKEN['half'])
    monkeypatch.setattr('mmcv.imfrombytes', fails)
    with pytest.raises(MemoryError):
        loaded(LoadImageFromFile(), tmp_path / 'x.png')


def test_an_image_beyond_opencvs_limit_is_not_empty(tmp_path):
    header = b'IHDR' + struct.pack('>IIBBBBB', 40000, 40000, 8, 2, 0, 0, 0)
    content = LABEL[:12] + header + zlib.crc32(header).to_bytes(4) + LABEL[33:]
    (tmp_path / 'x.png').write_bytes(content)
    with pytest.raises(UserError, match=r'x\.png cannot be read: damaged.*pixels <= CV_IO_MAX'):
        loaded(LoadImageFromFile(), tmp_path / 'x.png')


def test_a_label_is_read_once(root, monkeypatch):
    dataset = build_files(config_of(root, {}))
    read = []
    monkeypatch.setattr('builtins.open', counting(open, read))
    monkeypatch.setattr('io.open', counting(io.open, read))
    dataset[0]
    assert [path for path in read if path.endswith('labels/x.png')] == [f'{root}/labels/x.png']


def counting(function, calls):
    def counted(path, *args, **kwargs):
        calls.append(str(path))
        return function(path, *args, **kwargs)

    return counted


@pytest.mark.parametrize(
    'options', [{}, dict(label_map={i: i ^ 1 for i in range(255)}), dict(reduce_zero_label=True)]
)
def test_labels_are_as_mmsegmentation_loads_them(tmp_path, options):
    options = dict(options)
    label_map = options.pop('label_map', None)
    (tmp_path / 'x.png').write_bytes(LABEL)
    dataset = SimpleNamespace(CLASSES=range(255), ignore_index=255, label_map=label_map)
    load, found = LoadAnnotations(**options), []
    for each in (load, LoadTrainIds(load, dataset, load.reduce_zero_label)):
        given = dict(ann_info=dict(seg_map=f'{tmp_path}/x.png'), seg_fields=[])
        results = each(dict(given, label_map=label_map))
        assert results['seg_fields'] == ['gt_semantic_seg']
        found.append(results['gt_semantic_seg'])
    np.testing.assert_array_equal(*found)


def test_a_wrong_option_of_a_loader_is_no_damage(tmp_path):
    (tmp_path / 'x.png').write_bytes(LABEL)
    with pytest.raises(KeyError, match='colour'):
        loaded(LoadImageFromFile(color_type='colour'), tmp_path / 'x.png')


def test_own_formats_are_not_judged(tmp_path):
    class OwnFormat(LoadImageFromFile):
        def __call__(self, results):
            return np.load(results['img_info']['filename'])['img']  # of an archive

    np.save(tmp_path / 'x.npy', GREY)
    with pytest.raises(IndexError):
        loaded(OwnFormat(), tmp_path / 'x.npy')


# Ids that are no class


def evaluated(config):
    config = dict(config, pipeline=[PLAIN])
    return TestSamples(build_files(config, dict(test_mode=True)), with_gt=True)[0]


def trained(config):
    return build_files(config)[0]


def relabel(root, **ids):
    path = root / 'labels/x.png'
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label = np.where(label == 2, ids.get('two', 2), label).astype(ids.get('dtype', np.uint8))
    label[:4] = ids['first']
    path.write_bytes(opencv(label))


ZERO = dict(type='LoadAnnotations', reduce_zero_label=True)


@pytest.mark.parametrize('load', [trained, evaluated])
@pytest.mark.parametrize(
    ('ids', 'options', 'says'),
    [
        (dict(first=3), {}, r'0\.\.2 nor 255 \(ignored\): 3;'),
        (dict(first=254), {}, ': 254'),
        (dict(first=255), dict(ignore_index=7), r'0\.\.2 nor 7 \(ignored\): 255'),
        (dict(first=256, dtype=np.uint16), {}, ': 256'),  # as a byte it would be 0
        (dict(first=4), dict(reduce_zero_label=True), r'0\.\.3 nor 255 \(ignored\): 4'),
        (dict(first=33), dict(type='CityscapesDataset', classes=['car', 'road']),
         r'0\.\.18 nor 255 \(ignored\): 33'),
    ],
)  # fmt: skip
def test_a_foreign_id_is_one_line_with_the_file(root, load, ids, options, says):
    relabel(root, **ids)
    with pytest.raises(UserError, match=rf'labels/x\.png holds [^\n]*{says}[^\n]*$'):
        load(config_of(root, options))


def config_of(root, options):
    options = dict(options, seg_map_suffix='.png')
    if options.get('reduce_zero_label'):
        options['load_labels'] = dict(reduce_zero_label=True)
    return data_set(root, PLAIN, **options)


@pytest.mark.parametrize('load', [trained, evaluated])
@pytest.mark.parametrize(
    ('ids', 'options'),
    [
        (dict(first=255), {}),
        (dict(first=200), dict(ignore_index=200)),
        (dict(first=1, dtype=np.uint16), {}),
        (dict(first=3), dict(reduce_zero_label=True)),
        (dict(first=255), dict(reduce_zero_label=True)),
        (dict(first=18), dict(type='CityscapesDataset', classes=['car', 'road'])),
    ],
)
def test_classes_and_ignored_pixels_are_fine(root, load, ids, options):
    relabel(root, **ids)
    load(config_of(root, options))


@pytest.mark.parametrize('load', [trained, evaluated])
def test_colours_are_no_ids(root, load):
    save(root / 'labels/x.png', RGB)
    with pytest.raises(UserError, match=r'labels/x\.png holds colours'):
        load(config_of(root, {}))
