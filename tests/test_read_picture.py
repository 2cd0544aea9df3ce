"""Picture files of every kind are read as the plain 8-bit RGB file of the same picture."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg.engine.decode_picture import to_8_bits
from mmseg.engine.predictions import read_picture
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
    'tga, which OpenCV does not know': (pillow(RGB, 'TGA'), RGB, 0),
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
    '14 of 16 bits': (opencv(of_depth(RGB, 14)), RGB, 0),
    '12 of 16 bits': (opencv(of_depth(RGB, 12)), RGB, 0),
    '10 of 16 bits': (opencv(of_depth(RGB, 10), '.tiff'), RGB, 0),
    '8 of 16 bits': (opencv(of_depth(RGB, 8)), RGB, 0),
    '32 bits, grey': (pillow(of_depth(GREY, 16).astype(np.int32), 'TIFF'), GREY[..., None], 0),
    'cmyk jpeg': (pillow(Image.fromarray(RGB).convert('CMYK'), 'JPEG', quality=95), RGB, 3),
    'cmyk tiff': (pillow(Image.fromarray(RGB).convert('CMYK'), 'TIFF'), RGB, 0),
    'gif': (pillow(palette(), 'GIF'), palette().convert('RGB'), 0),
    'animated gif': (animated('GIF'), RGB, 6),
    'animated webp': (animated('WEBP', **LOSSLESS), RGB, 0),
    'animated png': (animated('PNG'), RGB, 0),
}


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_the_same_picture(tmp_path, kind):
    content, expected, tolerance = KINDS[kind]
    path = tmp_path / 'file'  # the content decides, not the name
    path.write_bytes(content)
    found = read_picture(str(path))
    assert found.dtype == np.uint8 and found.shape == (HEIGHT, WIDTH, 3)
    difference = np.abs(found[..., ::-1].astype(int) - np.asarray(expected).astype(int))
    assert difference.mean() <= tolerance  # a wrong turn or order of channels is above 30


def test_the_plain_ones_are_what_the_training_loader_reads(tmp_path):
    import mmcv

    for name, content in (('a.png', pillow(RGB, 'PNG')), ('a.jpg', pillow(RGB, 'JPEG'))):
        (tmp_path / name).write_bytes(content)
        path = str(tmp_path / name)
        np.testing.assert_array_equal(read_picture(path), mmcv.imread(path, flag='color'))


def test_white_is_the_largest_number_of_the_first_depth_that_fits():
    for bits in (8, 10, 12, 14, 16):
        largest = 2**bits - 1
        found = to_8_bits(np.array([0, largest // 2 + 1, largest], np.uint16))
        assert found.tolist() == [0, 128, 255]
    assert to_8_bits(np.array([0, 10**6], np.int32)).tolist() == [0, 255]
    assert to_8_bits(np.zeros((2, 2), np.uint16)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (None, 'file does not exist'),
        (b'', 'file cannot be read as a picture'),
        (b'text', 'file cannot be read as a picture'),
        (KINDS['png'][0][:300], 'file cannot be read as a picture'),
        (KINDS['tiff'][0][:900], 'file cannot be read as a picture'),
        (opencv(RGB.astype(np.float32), '.tiff'), 'file holds floating-point numbers'),
    ],
)  # fmt: skip
def test_what_is_no_picture(tmp_path, capfd, content, says):
    path = tmp_path / 'file'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_picture(str(path))
    assert capfd.readouterr() == ('', '')
