"""The prototypes of style hallucination, picked anew from the styles of the source in intervals."""

from itertools import chain, zip_longest

import torch
from torch.utils.data import Dataset

from mmseg.datasets.dataloader import build_loader, to_device
from mmseg.models.style_hallucination import image_styles
from mmseg.utils.collective import copy_from_rank_0, gather_over_ranks, signal_of_any
from mmseg.utils.seeding import numpy_generator, seed_for, seeded_globals
from mmseg.utils.user_error import UserError


class StylePrototypes:
    """Computes the style of each source image once, and lets the student's encoder pick from them.

    It comes first in its iteration, and follows from (seed, iteration) and the student alone. So a
    run that is stopped meanwhile, or resumes there, has the prototypes of one that is not.

    Args:
        source (JoinedSets): Labelled images by the training pipeline, without Rare Class Sampling.
        hallucination (StyleHallucination): Of the student's encoder.
        interval (int): Iterations, from the first one on.
        samples_per_gpu (int): A last batch of fewer is left out.
        workers_per_gpu (int): Processes that load the images.
    """

    def __init__(self, source, hallucination, interval, samples_per_gpu, workers_per_gpu):
        self.source, self.hallucination = source, hallucination
        self.interval, self.batch_size, self.workers = interval, samples_per_gpu, workers_per_gpu
        self.batches = len(source) // samples_per_gpu
        number, count = len(hallucination.proto_mean), self.batches * samples_per_gpu
        if count < number:
            raise UserError(
                f'style hallucination picks {number} styles, and the source has {count} images in '
                f'whole batches of {samples_per_gpu}: lower base_style_num of '
                'model.backbone.style_hallucination_cfg, or style_hallucination_hook.'
                'samples_per_gpu'
            )

    def is_due(self, runner):
        """Whether prototypes are picked before the iteration that is to run."""
        return runner.iter % self.interval == 0

    @torch.no_grad()
    def run(self, runner, stop):
        """Pick prototypes; all ranks must call this. Returns a signal that ended it early."""
        segmentor = runner.model.model.eval()
        numbers = [
            range(batch * self.batch_size, (batch + 1) * self.batch_size)
            for batch in range(runner.rank, self.batches, runner.world_size)
        ]
        images = StyleImages(self.source, runner.seed, runner.iter)
        loader = iter(build_loader(images, numbers, self.workers, runner.device))
        styles = []
        # As often on each rank as on the one with the most batches: they decide together.
        for _ in range(-(-self.batches // runner.world_size)):
            batch = stop.interrupt(next, loader, None)
            number = signal_of_any(stop.signal)
            if number is not None:
                return number
            if batch is not None:
                styles.append(image_styles(segmentor, to_device(batch['img'], runner.device)).cpu())
        # Dealt out batch by batch, so that in their order they are those of one process.
        in_order = chain.from_iterable(zip_longest(*gather_over_ranks(styles)))
        styles = torch.cat([batch for batch in in_order if batch is not None])
        rng = numpy_generator(runner.seed, 'first prototype', runner.iter)
        self.hallucination.set_prototypes(styles, int(rng.integers(len(styles))))
        copy_from_rank_0(self.hallucination.buffers())
        runner.logger.info(
            'Before iteration %d: %d prototypes picked from the styles of %d source images',
            runner.iter + 1, len(self.hallucination.proto_mean), len(styles),
        )  # fmt: skip
        return None


class StyleImages(Dataset):
    """The images of a source in an order of this iteration, cropped and flipped for it, too."""

    def __init__(self, source, seed, iteration):
        self.source, self.place = source, (seed, 'style image', iteration)
        rng = numpy_generator(seed, 'style order', iteration)
        self.order = rng.permutation(len(source)).tolist()

    def __getitem__(self, number):
        with seeded_globals(seed_for(*self.place, number)):
            return {'img': self.source[self.order[number]]['img']}
