"""Keep images on disk as training resizes them, uncompressed, so that each is decoded once.

Decoding takes nearly all of the time of a sample. What is kept is as large as the PNG.
"""

import hashlib
import os
import os.path as osp
import uuid

import cv2

from mmseg.datasets.archives import is_file, stamp
from mmseg.datasets.pipelines.transforms import Resize
from mmseg.utils.files import atomic_write
from mmseg.utils.user_error import UserError


def keep_resized(dataset, folder):
    """Let a data set load images from ``folder``, which runs may share, once they are resized.

    Tensors stay the same; ``scale_factor`` is that of the kept image.
    """
    transforms = dataset.pipeline.transforms
    resize = next((t for t in transforms[1:3] if isinstance(t, Resize)), None)
    scales = resize and resize.img_scale
    if not scales or len(scales) > 1 or resize.ratio_range or resize.min_size:
        raise UserError(
            'data.train.resized_dir needs pipelines that load and then resize, to one img_scale '
            'without ratio_range or min_size. Change them, or set resized_dir=None.'
        )
    transforms[0] = _ResizedLoader(transforms[0], resize, folder)


class _ResizedLoader:
    """Loads an image in the size that ``resize`` gives it, which then leaves it as it is."""

    def __init__(self, load, resize, folder):
        self.load, self.resize, self.folder = load, resize, folder

    def __call__(self, results):
        name = results['img_info']['filename']
        original = osp.join(results['img_prefix'], name)
        if not is_file(original):
            return self.load(results)  # reports what is missing
        kept = self._path_of(original)
        if not osp.isfile(kept):
            resized = self.resize(self.load({**results, 'seg_fields': []}))
            # Workers and runs may write the same image at the same time.
            own = osp.join(self.folder, f'{uuid.uuid4().hex}.ppm')
            ppm = cv2.imencode('.ppm', resized['img'])[1].tobytes()
            height, width = resized['ori_shape'][:2]
            with atomic_write(own) as file:
                file.write(ppm.replace(b'\n', b'\n# %d %d before\n' % (height, width), 1))
            os.replace(own, kept)
        loaded = self.load({**results, 'img_prefix': None, 'img_info': {'filename': kept}})
        with open(kept, 'rb') as file:
            height, width = map(int, file.read(64).split()[2:4])
        shape = (height, width, *loaded['img'].shape[2:])
        own = {'filename': original, 'ori_filename': name, 'ori_shape': shape}
        return {**loaded, **results, **own}

    def _path_of(self, original):
        """Another path where the original was changed, or where other pixels would come out."""
        identity = (
            osp.abspath(original), *stamp(original), self.load, self.resize, cv2.__version__,
            'with the size before',
        )  # fmt: skip
        name = hashlib.sha256(repr(identity).encode()).hexdigest()
        return osp.join(self.folder, f'{name}.ppm')
