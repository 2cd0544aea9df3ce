"""How often Rare Class Sampling drew each class, written into the run's folder during training."""

import json
import os.path as osp

import numpy as np
from mmcv.runner.hooks import Hook

from mmseg.engine.logs import RARE_CLASS_FILE
from mmseg.utils.files import write_text


class RareClassRecord(Hook):
    """Writes ``evaluation/rare_class_sampling.json`` at every evaluation and at the end.

    What was drawn follows from the samples' numbers: nothing is asked of the data workers, and a
    resumed run counts again from its beginning, as if with its present number of processes.

    Args:
        samples_per_iteration (int): Of all ranks.
        evaluation (Evaluation | None): At whose iterations it writes.
    """

    def __init__(self, dataset, samples_per_iteration, evaluation):
        self.dataset = dataset
        self.samples_per_iteration = samples_per_iteration
        self.evaluation = evaluation
        self._counted = 0
        self._drawn = np.zeros(len(dataset.CLASSES), int)

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
            dict: ``share`` (of the source's pixels), ``wanted`` (probability) and ``drawn``
            (source samples), each a list over ``classes`` with 0 for those that do not occur.
        """
        stop = iteration * self.samples_per_iteration
        for number in range(self._counted, stop):
            class_id, _, _ = self.dataset.draw_pair(number)
            self._drawn[class_id] += 1
        self._counted = stop
        sampler = self.dataset.sampler
        share, wanted = np.zeros((2, len(self._drawn)))
        share[sampler.classes] = sampler.shares
        wanted[sampler.classes] = sampler.probabilities
        return dict(
            iter=iteration,
            classes=list(self.dataset.CLASSES),
            share=share.tolist(),
            wanted=wanted.tolist(),
            drawn=self._drawn.tolist(),
            min_pixels=sampler.min_pixels,
        )
