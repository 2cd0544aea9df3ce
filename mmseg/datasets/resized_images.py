"""Keeps images on the disk as training resizes them, uncompressed, so that each is decoded once.

Nearly all of the time that a sample takes goes into decoding its two PNGs of 2 megapixels. What is
kept of an image is as large as its PNG (GTA 2.7 MB, Cityscapes 1.6 MB), and read in a millisecond.
"""

import hashlib
import os
import os.path as osp
import tempfile

import cv2

from mmseg.datasets.pipelines.transforms import Resize
from mmseg.utils.files import UNWRITABLE, refusing_to_write
from mmseg.utils.user_error import UserError


def keep_resized(dataset, folder):
    """Let a data set load images from ``folder`` once it has loaded and resized them.

    Tensors stay the same, bit for bit. In the samples' ``img_metas`` the kept image is the
    original: ``ori_shape`` and ``scale_factor`` are its.

    Args:
        dataset (CustomDataset): Is changed and returned.
        folder (str): Is made when it is needed. Runs may share it.

    Raises:
        UserError: If the pipeline does not resize all images alike right after loading.
    """
    transforms = dataset.pipeline.transforms
    resize = next((t for t in transforms[1:3] if isinstance(t, Resize)), None)
    if resize is None or not _resizes_alike(resize):
        raise UserError(
            'data.train.resized_dir needs pipelines that load and then resize, to one img_scale '
            'without ratio_range or min_size. Change them, or set resized_dir=None.'
        )
    transforms[0] = _KeepsResized(transforms[0], resize, folder)
    return dataset


def _resizes_alike(resize):
    one_scale = resize.img_scale is not None and len(resize.img_scale) == 1
    return one_scale and resize.ratio_range is None and resize.min_size is None


class _KeepsResized:
    """Loads an image in the size that ``resize`` gives it, which then leaves it as it is.

    Args:
        load (Callable): Loads a file as uint8 BGR, as ``LoadImageFromFile`` does.
        resize (Resize): The pipeline's.
        folder (str): Of what is kept.
    """

    def __init__(self, load, resize, folder):
        self.load, self.resize, self.folder = load, resize, folder

    def __call__(self, results):
        original = osp.join(results['img_prefix'], results['img_info']['filename'])
        if not osp.isfile(original):
            return self.load(results)  # says what is missing
        place = self._place(original)
        if not osp.isfile(place):
            resized = self.resize(self.load({**results, 'seg_fields': []}))
            self._keep(resized['img'], place)
        kept = self.load({**results, 'img_prefix': None, 'img_info': {'filename': place}})
        return {
            **kept, **results, 'filename': original, 'ori_filename': results['img_info']['filename']
        }  # fmt: skip

    def _place(self, original):
        """Another one where the original was changed, or where other pixels would come out."""
        found = os.stat(original)
        identity = (
            osp.abspath(original), found.st_mtime_ns, found.st_size, self.load, self.resize,
            cv2.__version__,
        )  # fmt: skip
        name = hashlib.sha256(repr(identity).encode()).hexdigest()
        return osp.join(self.folder, f'{name}.ppm')

    def _keep(self, image, place):
        # Workers and runs may write the same image at the same time: each beside, under a new name.
        with refusing_to_write(place, UNWRITABLE):
            os.makedirs(self.folder, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=self.folder, suffix='.part')
            try:
                with open(handle, 'wb') as file:
                    file.write(cv2.imencode('.ppm', image)[1])
                os.replace(beside, place)
            finally:
                if osp.lexists(beside):
                    os.remove(beside)
