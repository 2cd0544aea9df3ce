"""The runner's own hooks: evaluation, and resume state between the checkpoints."""

import os.path as osp
import time

from mmcv.runner.hooks import Hook
from mmcv.runner.hooks.logger import LoggerHook

from mmseg.engine.evaluation import (
    areas_of_classes,
    count_areas,
    evaluate,
    predict,
    sum_areas,
    write_confusion,
)
from mmseg.engine.evaluation_samples import EVALUATION_FOLDER, draw_sample, sample_indices
from mmseg.engine.predictions import write_picture
from mmseg.models.uda.build import student_of
from mmseg.utils.collective import gather_over_ranks

# A stop loses at most this much of a run, and an evaluation interval if that is shorter.
RESUME_STATE_SECONDS = 10 * 60


class EvaluationHook(Hook):
    """Tests the student on the target's validation set.

    Runs after the loggers have written the iteration's losses and before its checkpoint, so that a
    checkpoint never lacks the evaluation of its iteration. Leaves the confusion matrix and a few
    images in ``evaluation/``, as ``iter_N.json`` and ``iter_N_K.png``. Warns of classes that got
    lost.

    Args:
        dataset (CustomDataset): With a test pipeline.
        interval (int): Iterations; the last iteration is always evaluated.
        metric (str | list[str]): As in MMSegmentation.
        loading (dict): ``num_workers`` and ``batch_size``, as for ``predict``.
        from_synthia (bool): Add the means over Synthia's classes.
    """

    def __init__(self, dataset, interval, metric, loading, from_synthia):
        self.dataset = dataset
        self.interval = interval
        self.metric = metric
        self.loading = loading
        self.from_synthia = from_synthia

    def is_due(self, runner):
        """Whether the iteration that just ran is evaluated."""
        return self.every_n_iters(runner, self.interval) or self.is_last_iter(runner)

    def after_train_iter(self, runner):
        if not self.is_due(runner):
            return
        segmentor = student_of(runner.model)
        predictions = predict(
            segmentor, self.dataset, runner.device, **self.loading, with_truth=True
        )
        shown = sample_indices(len(self.dataset))
        counts, pictures = [], {}
        for index, label, truth in predictions:
            counts.append(count_areas(self.dataset, label, truth, index))
            if index in shown:
                picture = draw_sample(self.dataset, index, label, truth)
                pictures[shown.index(index)] = picture
        areas = sum_areas(self.dataset, counts)
        gathered = gather_over_ranks(pictures)
        if runner.rank == 0:
            self._write(runner, areas, gathered)
            self._report(runner, areas)

    def _write(self, runner, areas, gathered):
        """Write the confusion matrix and the pictures of all ranks into ``evaluation/``."""
        stem = osp.join(runner.work_dir, EVALUATION_FOLDER, f'iter_{runner.iter + 1:06d}')
        write_confusion(f'{stem}.json', self.dataset, areas, runner.iter + 1)
        for pictures in gathered:
            for number, picture in pictures.items():
                write_picture(picture, f'{stem}_{number}.png')

    def _report(self, runner, areas):
        found = evaluate(
            self.dataset, areas, runner.logger, self.metric, from_synthia=self.from_synthia
        )
        runner.log_buffer.output.update(found)
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook):
                hook.log(runner)
        runner.log_buffer.clear_output()
        self._warn_of_lost_classes(runner, areas)

    def _warn_of_lost_classes(self, runner, areas):
        """Warn of classes that an earlier evaluation found, and that are predicted nowhere now.

        What was found is kept in the checkpoints' meta, so that a resume remembers it.
        """
        hits, _, predicted, _ = areas_of_classes(areas)
        earlier = runner.meta.get('found_classes', [])
        names = self.dataset.CLASSES
        lost = [name for name, n in zip(names, predicted, strict=True) if name in earlier and not n]
        if lost:
            runner.logger.warning(
                'Iteration %d: the student predicts nowhere any more: %s', runner.iter + 1,
                ', '.join(lost),
            )  # fmt: skip
        found = [name for name, n in zip(names, hits, strict=True) if name in earlier or n]
        runner.meta['found_classes'] = found


class ResumeStateHook(Hook):
    """Writes resume state at every evaluation and every few minutes.

    Args:
        evaluation (EvaluationHook | None): Whose iterations count.
        max_iters (int): The last iteration has a checkpoint of its own.
    """

    def __init__(self, evaluation, max_iters):
        self.evaluation = evaluation
        self.max_iters = max_iters
        self.written = time.monotonic()

    def after_train_iter(self, runner):
        due = time.monotonic() - self.written > RESUME_STATE_SECONDS
        if self.evaluation is not None:
            due = due or self.evaluation.is_due(runner)
        if due and runner.iter + 1 < self.max_iters:
            runner.save_resume_state(runner.iter + 1)
            self.written = time.monotonic()
