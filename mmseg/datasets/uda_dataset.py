"""Training samples: sample number i of a run is a function of (seed, i) alone."""

import torch
from torch.utils.data import Dataset

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.file_errors import build_files, images_of
from mmseg.datasets.pipelines.transforms import RandomCrop
from mmseg.datasets.rare_class_sampling import RareClassSampler, crop_with_class
from mmseg.datasets.resized_images import keep_resized
from mmseg.utils.seeding import numpy_generator, seed_for, seeded_globals
from mmseg.utils.user_error import UserError


class SeededEpochs(Dataset):
    """Epochs of one data set, each in an order of its own, for runs without adaptation."""

    def __init__(self, dataset, seed):
        self.dataset = dataset
        self.seed = seed
        self.CLASSES, self.PALETTE = dataset.CLASSES, dataset.PALETTE
        self._epoch, self._order = None, None

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, number):
        epoch, position = divmod(number, len(self.dataset))
        if epoch != self._epoch:
            rng = numpy_generator(self.seed, 'epoch', epoch)
            self._epoch, self._order = epoch, rng.permutation(len(self.dataset))
        with seeded_globals(seed_for(self.seed, 'source', number)):
            return self.dataset[int(self._order[position])]


@DATASETS.register_module()
class UDADataset(Dataset):
    """Pairs of a labelled source image and a target image, whose label is never read.

    Args:
        target (dict): Config of a data set. ``crop_pseudo_margins``, a list of top, bottom, left
            and right (see :class:`MarkMargins`), adds ``valid_pseudo_mask`` (1, H, W) to samples:
            False in these margins and where the image is padded.
        rare_class_sampling (dict | None): ``min_pixels``, ``class_temp`` and ``min_crop_ratio``;
            None draws pairs uniformly. A crop has to hold ``min_pixels * min_crop_ratio`` pixels of
            its class; below 1 ``min_pixels`` is a ratio of the image. With ``crop_tries`` (VFM-UDA:
            20) up to so many crops are drawn for one that also has balanced classes; without, the
            balance is sought first, for each of 11 crops.
        resized_dir (str | None): Folder that keeps decoded, resized images for the next time.
        sync_crop_size (tuple[int, int] | None): Height and width of a box that is cut at last, at
            the same place, from all that a sample holds of source and target.
    """

    def __init__(
        self, source, target, rare_class_sampling=None, seed=0, resized_dir=None,
        sync_crop_size=None,
    ):  # fmt: skip
        self.source = build_files(source)
        self.target = build_files(_images_alone(target))
        self.seed = seed
        self.sync_crop_size = sync_crop_size
        self.CLASSES, self.PALETTE = self.target.CLASSES, self.target.PALETTE
        if tuple(self.source.CLASSES) != tuple(self.target.CLASSES):
            raise UserError(
                f'source ({source["type"]}) and target ({target["type"]}) have different classes.'
            )
        for dataset, cfg in ((self.source, source), (self.target, target)):
            if len(dataset) == 0:
                raise UserError(f'{dataset.img_dir} holds no {images_of(dataset)} ({cfg["type"]})')
            if resized_dir is not None:
                keep_resized(dataset, resized_dir)
        self.sampler, self.min_crop_pixels, self.min_crop_ratio = None, 0, None
        if rare_class_sampling is not None:
            self._set_up_rare_class_sampling(**rare_class_sampling)

    def _set_up_rare_class_sampling(self, min_pixels, class_temp, min_crop_ratio, crop_tries=None):
        labels = [info['ann']['seg_map'] for info in self.source.img_infos]
        root, folder, label_map = self.source.data_root, self.source.ann_dir, self.source.label_map
        self.sampler = RareClassSampler(root, labels, folder, min_pixels, class_temp, label_map)
        self.min_crop_pixels = self.sampler.min_pixels * min_crop_ratio
        self.crop_tries = crop_tries
        if 0 < min_pixels < 1:
            self.min_crop_ratio = min_pixels * min_crop_ratio
        if self.min_crop_pixels > 0 and self._crop_position() is None:
            raise UserError(
                "rare_class_sampling checks crops, but the source's pipeline has no RandomCrop. "
                'Add one, or set min_crop_ratio=0.'
            )

    def __len__(self):
        """Number of different pairs; samples are numbered without end."""
        return len(self.source) * len(self.target)

    def __getitem__(self, number):
        class_id, source_index, target_index = self.draw_pair(number)
        with seeded_globals(seed_for(self.seed, 'source', number)):
            source = self._source_sample(source_index, class_id)
        with seeded_globals(seed_for(self.seed, 'target', number)):
            # The path of test images is the one that asks for no annotation.
            target = self.target.prepare_test_img(target_index)
        metas = target['img_metas']
        sample = {**source, 'target_img': target['img'], 'target_img_metas': metas}
        if 'valid_pseudo_mask' in target:
            # Padding is 255.
            sample['valid_pseudo_mask'] = torch.from_numpy(target['valid_pseudo_mask'] == 1)[None]
        return sample if self.sync_crop_size is None else self._cut(sample, number)

    def draw_pair(self, number):
        """Draw the class that the crop of a sample has to hold, or None, and its two images."""
        rng = numpy_generator(self.seed, 'pair', number)
        class_id, source_index = None, int(rng.integers(len(self.source)))
        if self.sampler is not None:
            class_id, source_index = self.sampler.draw(rng)
        return class_id, source_index, int(rng.integers(len(self.target)))

    def _cut(self, sample, number):
        height, width = self.sync_crop_size
        full_height, full_width = sample['img'].data.shape[-2:]
        if height > full_height or width > full_width:
            raise UserError(
                f'data.train.sync_crop_size={(height, width)} is larger than the crops of the '
                f'pipelines, {(full_height, full_width)} (height, width)'
            )
        rng = numpy_generator(self.seed, 'sync_crop', number)
        top = rng.integers(full_height - height + 1)
        left = rng.integers(full_width - width + 1)
        box = (..., slice(top, top + height), slice(left, left + width))
        keys = {'img', 'gt_semantic_seg', 'target_img', 'valid_pseudo_mask'} & set(sample)
        return {**sample, **{key: sample[key].data[box].clone() for key in keys}}

    def _crop_position(self):
        transforms = self.source.pipeline.transforms
        return next((i for i, t in enumerate(transforms) if isinstance(t, RandomCrop)), None)

    def _source_sample(self, index, class_id):
        """Load the image once, then redraw the crop until it holds enough of the class."""
        if class_id is None or self.min_crop_pixels == 0:
            return self.source[index]
        transforms = self.source.pipeline.transforms
        position = self._crop_position()
        info = self.source.img_infos[index]
        results = dict(img_info=info, ann_info=info['ann'])
        self.source.pre_pipeline(results)
        for transform in transforms[:position]:
            results = transform(results)
        min_pixels = self.min_crop_pixels
        if self.min_crop_ratio is not None:  # of the image as it is cropped: resized
            height, width = results['img'].shape[:2]
            min_pixels = self.min_crop_ratio * height * width
        results = crop_with_class(
            transforms[position], results, class_id, min_pixels, self.crop_tries
        )
        for transform in transforms[position + 1 :]:
            results = transform(results)
        return results


def _images_alone(target):
    """The target's config without what would read labels, and with what marks its margins."""
    target = {**target}
    margins = target.pop('crop_pseudo_margins', None)
    masks = [] if margins is None else ['valid_pseudo_mask']
    pipeline = []
    for transform in target['pipeline']:
        if transform['type'] == 'LoadAnnotations':
            continue
        if transform['type'] == 'Collect':  # published configs collect labels
            keys = [key for key in transform['keys'] if key != 'gt_semantic_seg']
            transform = {**transform, 'keys': [*keys, *masks]}
        elif transform['type'] == 'RandomCrop':  # and some balance crops by them
            transform = {key: v for key, v in transform.items() if key != 'cat_max_ratio'}
        pipeline.append(transform)
    if margins is not None:
        pipeline.insert(1, {'type': 'MarkMargins', 'margins': margins})
    return {**target, 'pipeline': pipeline, 'ann_dir': None}
