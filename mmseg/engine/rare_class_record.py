"""How often Rare Class Sampling drew each class, written into the run's folder while it goes on."""

import json
import os.path as osp

from mmcv.runner.hooks import Hook

from mmseg.engine.evaluation_samples import EVALUATION_FOLDER
from mmseg.utils.files import write_text

RARE_CLASS_FILE = osp.join(EVALUATION_FOLDER, 'rare_class_sampling.json')  # in the run's folder


class RareClassRecord(Hook):
    """Writes ``evaluation/rare_class_sampling.json`` at every evaluation and at the end.

    What was drawn follows from the samples' numbers, so nothing is asked of the loading processes,
    and a run that goes on counts again from its beginning. (Did it begin with another number of
    processes, it counts what it would have drawn with those of now.)

    Args:
        dataset (UDADataset): With a ``sampler``.
        samples_per_iteration (int): Of all ranks.
        evaluation (Evaluation | None): Whose iterations count.
    """

    def __init__(self, dataset, samples_per_iteration, evaluation):
        self.dataset = dataset
        self.samples_per_iteration = samples_per_iteration
        self.evaluation = evaluation
        self._counted = 0
        self._drawn = [0] * len(dataset.CLASSES)

    def after_train_iter(self, runner):
        due = self.is_last_iter(runner)
        if self.evaluation is not None:
            due = due or self.evaluation.is_due(runner)
        if due and runner.rank == 0:
            content = self.content(runner.iter + 1)
            write_text(osp.join(runner.work_dir, RARE_CLASS_FILE), json.dumps(content) + '\n')

    def content(self, iteration):
        """What the file holds after so many iterations; they must not get fewer.

        Returns:
            dict: ``share`` (of the pixels of the source), ``wanted`` (probability) and ``drawn``
            (source samples), each a list over ``classes`` with 0 for those that do not occur.
        """
        stop = iteration * self.samples_per_iteration
        for number in range(self._counted, stop):
            class_id, _, _ = self.dataset.draw_pair(number)
            self._drawn[class_id] += 1
        self._counted = stop
        sampler = self.dataset.sampler
        share, wanted = [0.0] * len(self._drawn), [0.0] * len(self._drawn)
        for class_id, s, p in zip(
            sampler.classes, sampler.shares, sampler.probabilities, strict=True
        ):
            share[class_id], wanted[class_id] = float(s), float(p)
        return dict(
            iter=iteration,
            classes=list(self.dataset.CLASSES),
            share=share,
            wanted=wanted,
            drawn=list(self._drawn),
            min_pixels=sampler.min_pixels,
        )
