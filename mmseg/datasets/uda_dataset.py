"""Training samples: sample number i of a run is a function of (seed, i) alone."""

import torch
from torch.utils.data import Dataset

from mmseg.datasets.archives import unpacked
from mmseg.datasets.builder import DATASETS
from mmseg.datasets.file_errors import build_files, images_of
from mmseg.datasets.joined import JoinedSets
from mmseg.datasets.pipelines.transforms import RandomCrop
from mmseg.datasets.rare_class_sampling import ClassIndex, RareClassSampler, crop_with_class
from mmseg.datasets.resized_images import keep_resized
from mmseg.datasets.target_sets import images_alone, labelled_images
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
class DGDataset(Dataset):
    """Labelled images of one or several sources, for domain generalisation: without a target.

    Args:
        source (dict | list[dict]): Config of a data set, or of several.
        rare_class_sampling (dict | None): ``min_pixels``, ``class_temp`` and ``min_crop_ratio``;
            None draws images uniformly. A crop has to hold ``min_pixels * min_crop_ratio`` pixels
            of its class; below 1 ``min_pixels`` is a ratio of the image. With ``crop_tries``
            (VFM-UDA: 20) up to so many crops are drawn for one that also has balanced classes;
            without, the balance is sought first, for each of 11 crops. The pixels of all sources
            are counted together.
        resized_dir (str | None): Folder that keeps decoded, resized images for the next time.
        uniform_over (str): With several sources (or targets): see :class:`JoinedSets`.
    """

    def __init__(
        self, source, rare_class_sampling=None, seed=0, resized_dir=None, uniform_over='images'
    ):
        self.seed = seed
        sources = [build_files(config) for config in as_list(source)]
        self.sources = join(sources, resized_dir, uniform_over)
        first = self.sources.datasets[0]
        self.CLASSES, self.PALETTE = first.CLASSES, first.PALETTE
        self.sampler, self.min_crop_pixels, self.min_crop_ratio = None, 0, None
        if rare_class_sampling is not None:
            self._set_up_rare_class_sampling(**rare_class_sampling)

    def _set_up_rare_class_sampling(self, min_pixels, class_temp, min_crop_ratio, crop_tries=None):
        sets = self.sources.datasets
        self.sampler = RareClassSampler(
            [class_index(dataset, min_pixels, shares_root(dataset, sets)) for dataset in sets],
            class_temp,
            [self.sources.start(position) for position in range(len(sets))],
            self.sources.over_sets,
        )
        self.min_crop_pixels = min_pixels * min_crop_ratio
        self.crop_tries = crop_tries
        if 0 < min_pixels < 1:
            self.min_crop_ratio = min_pixels * min_crop_ratio
        if self.min_crop_pixels > 0 and None in map(_crop_position, sets):
            raise UserError(
                "rare_class_sampling checks crops, but the source's pipeline has no RandomCrop. "
                'Add one, or set min_crop_ratio=0.'
            )

    def __len__(self):
        """Number of different samples; they are numbered without end."""
        return len(self.sources)

    def __getitem__(self, number):
        return self.source_sample(number, *self.draw(number))

    def samples_of_sets(self):
        """Yield place and a sample of each data set, before any cut."""
        yield from self._samples_of('data.train.source', self.sources.datasets)

    def _samples_of(self, place, datasets):
        for number, dataset in enumerate(datasets):
            with seeded_globals(self.seed):
                read = dataset.prepare_train_img if dataset.ann_dir else dataset.prepare_test_img
                yield f'{place}[{number}]' if len(datasets) > 1 else place, read(0)

    def draw(self, number):
        """Draw the class that the crop of a sample has to hold, or None, and its source image."""
        return self._draw_source(numpy_generator(self.seed, 'pair', number))

    def _draw_source(self, rng):
        class_id, source_index = None, self.sources.draw(rng)
        if self.sampler is not None:
            class_id, source_index = self.sampler.draw(rng)
        return class_id, source_index

    def source_sample(self, number, class_id, index):
        """Load the image once, then redraw the crop until it holds enough of the class."""
        dataset, index = self.sources.find(index)
        with seeded_globals(seed_for(self.seed, 'source', number)):
            if class_id is None or self.min_crop_pixels == 0:
                return dataset[index]
            return self._sample_with_class(dataset, index, class_id)

    def _sample_with_class(self, dataset, index, class_id):
        transforms, position = dataset.pipeline.transforms, _crop_position(dataset)
        info = dataset.img_infos[index]
        results = dict(img_info=info, ann_info=info['ann'])
        dataset.pre_pipeline(results)
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


@DATASETS.register_module()
class UDADataset(DGDataset):
    """Pairs of a labelled source image and a target image, whose label is not read.

    Args:
        target (dict | list[dict]): Config of a data set, or of several. ``crop_pseudo_margins``, a
            list of top, bottom, left and right (see :class:`MarkMargins`), adds
            ``valid_pseudo_mask`` (1, H, W) to samples: False in these margins and where the image
            is padded. ``labelled`` says which of its images have labels, where a few do (see
            :func:`choose_labelled`); samples then hold one of these, too, as ``labelled_img``.
        sync_crop_size (tuple[int, int] | None): Height and width of a box that is cut at last, at
            the same place, from all that a sample holds.
        **kwargs: See :class:`DGDataset`.
    """

    def __init__(
        self, source, target, rare_class_sampling=None, seed=0, resized_dir=None,
        sync_crop_size=None, uniform_over='images',
    ):  # fmt: skip
        super().__init__(source, rare_class_sampling, seed, resized_dir, uniform_over)
        configs = as_list(target)
        marks = any(config.get('crop_pseudo_margins') for config in configs)
        targets = [build_files(images_alone(config, marks)) for config in configs]
        self.targets = join(targets, resized_dir, uniform_over)
        self.labelled_targets = [i for i, config in enumerate(configs) if config.get('labelled')]
        labelled = [labelled_images(configs[i], seed, i) for i in self.labelled_targets]
        self.labelled = join(labelled, resized_dir, uniform_over) if labelled else None
        self.sync_crop_size = sync_crop_size
        for config, dataset in zip(configs, targets, strict=True):
            if tuple(dataset.CLASSES) != tuple(self.CLASSES):
                kinds = [as_list(source)[0]['type'], config['type']]
                raise UserError(
                    f'source ({kinds[0]}) and target ({kinds[1]}) have different classes.'
                )

    def __len__(self):
        """Number of different pairs; samples are numbered without end."""
        return len(self.sources) * len(self.targets)

    def __getitem__(self, number):
        class_id, source_index, target_index = self.draw(number)
        sample = self.source_sample(number, class_id, source_index)
        target, index = self.targets.find(target_index)
        with seeded_globals(seed_for(self.seed, 'target', number)):
            # The path of test images is the one that asks for no annotation.
            target = target.prepare_test_img(index)
        metas = target['img_metas']
        sample = {**sample, 'target_img': target['img'], 'target_img_metas': metas}
        if 'valid_pseudo_mask' in target:
            # Padding is 255.
            sample['valid_pseudo_mask'] = torch.from_numpy(target['valid_pseudo_mask'] == 1)[None]
        if self.labelled is not None:
            sample |= {f'labelled_{key}': v for key, v in self._labelled_sample(number).items()}
        return sample if self.sync_crop_size is None else self._cut(sample, number)

    def samples_of_sets(self):
        """As of :class:`DGDataset`, those of the targets, too."""
        yield from super().samples_of_sets()
        yield from self._samples_of('data.train.target', self.targets.datasets)

    def draw(self, number):
        """As for one image of the source, with that of the target."""
        rng = numpy_generator(self.seed, 'pair', number)
        return *self._draw_source(rng), self.targets.draw(rng)

    def _labelled_sample(self, number):
        rng = numpy_generator(self.seed, 'labelled image', number)
        dataset, index = self.labelled.find(self.labelled.draw(rng))
        with seeded_globals(seed_for(self.seed, 'labelled', number)):
            return dataset[index]

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
        keys = [key for key in sample if not key.endswith('img_metas')]
        return {**sample, **{key: sample[key].data[box].clone() for key in keys}}


def as_list(configs):
    """Return the configs of one data set, or of several, as a list."""
    return configs if isinstance(configs, list | tuple) else [configs]


def join(datasets, resized_dir, uniform_over):
    """Join data sets, each of which is to have images, and let them keep what they resize."""
    for dataset in datasets:
        if len(dataset) == 0:
            kind = type(dataset).__name__
            raise UserError(f'{dataset.img_dir} holds no {images_of(dataset)} ({kind})')
        if resized_dir is not None:
            keep_resized(dataset, resized_dir)
    return JoinedSets(datasets, uniform_over)


def shares_root(dataset, datasets):
    """Whether others of several data sets have the same ``data_root``, where the index lies."""
    return sum(other.data_root == dataset.data_root for other in datasets) > 1


def class_index(dataset, min_pixels, is_shared=False):
    """Read the class index of a data set of files, or its part of one that several share."""
    names = [info['ann']['seg_map'] for info in dataset.img_infos]
    root, folder = unpacked(dataset.data_root or ''), dataset.ann_dir
    return ClassIndex(root, names, folder, min_pixels, dataset.label_map, is_shared)


def _crop_position(dataset):
    transforms = dataset.pipeline.transforms
    return next((i for i, t in enumerate(transforms) if isinstance(t, RandomCrop)), None)
