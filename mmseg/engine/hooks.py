"""What happens between the iterations of a run: its evaluation, and records of what was drawn."""

import json
import os.path as osp

import numpy as np
from mmcv.runner.hooks import Hook
from mmcv.runner.hooks.logger import LoggerHook

from mmseg.engine.evaluation import (
    count_areas,
    evaluate,
    found_classes,
    join_metrics,
    predict,
    sum_areas,
    write_confusion,
)
from mmseg.engine.logs import RARE_CLASS_FILE, evaluation_image, evaluation_stem
from mmseg.engine.predictions import draw_sample, sample_indices, write_image
from mmseg.engine.tensorboard import show_evaluation, show_sampling
from mmseg.utils.collective import copy_from_rank_0, gather_over_ranks, signal_of_any
from mmseg.utils.files import write_text


class Evaluation:
    """Tests the student on the target's validation set, or on several that have names.

    It comes last in its iteration, after the resume state: a stop or a kill meanwhile loses this
    evaluation alone, which a resume makes up. Writes a few images and the confusion matrix as
    ``evaluation/iter_N_K.png`` (of named sets ``iter_N_NAME_K.png``) and ``iter_N.json``, and warns
    of classes that got lost.

    Args:
        datasets (dict[str, CustomDataset]): With test pipelines, by name, '' of the only one.
        interval (int): Iterations; the last iteration is always evaluated.
        loading (dict): ``num_workers`` and ``batch_size``, as for ``predict``.
    """

    def __init__(self, datasets, interval, metric, loading, from_synthia):
        self.datasets = datasets
        self.interval = interval
        self.metric = metric
        self.loading = loading
        self.from_synthia = from_synthia

    def is_due(self, runner):
        """Whether the iteration that just ran is evaluated."""
        return is_due(runner.iter + 1, self.interval, runner.max_iters)

    def run(self, runner, stop):
        """Evaluate; all ranks must call this. Returns a signal that ended it early, else None."""
        # Each rank's BatchNorm has seen other images; what is saved and tested is rank 0's.
        copy_from_rank_0(runner.model.buffers())
        areas, images = {}, {}
        for name, dataset in self.datasets.items():
            counts, images[name] = [], {}
            number = self._predict(runner, stop, dataset, counts, images[name])
            if number is not None:
                return number
            areas[name] = sum_areas(dataset, counts)
        gathered = gather_over_ranks(images)
        if runner.rank == 0:
            for name in images:
                images[name] = {k: v for part in gathered for k, v in part[name].items()}
            self._record(runner, areas, images)
        return None

    def _predict(self, runner, stop, dataset, counts, images):
        """Count this rank's predictions and draw some; returns a signal that ended it early."""
        predictions = predict(
            runner.model.model, dataset, runner.device, **self.loading, with_gt=True
        )
        shown = sample_indices(len(dataset))
        # As often on each rank as on the one with the most images: they decide together.
        for _ in range(-(-len(dataset) // runner.world_size)):
            predicted = stop.interrupt(next, predictions, None)
            number = signal_of_any(stop.signal)
            if number is not None:
                return number
            if predicted is None:
                break  # this rank has an image less, and this was the last check of all
            index, label, gt = predicted
            counts.append(count_areas(dataset, label, gt, index))
            if index in shown:
                images[shown.index(index)] = draw_sample(dataset, index, label, gt)
        return None

    def _record(self, runner, areas, images):
        """Log and write what was found: last the file that says that all the rest is there."""
        stem = evaluation_stem(runner.work_dir, runner.iter + 1)
        found = {}
        for name, dataset in self.datasets.items():
            for number, image in images[name].items():
                write_image(image, evaluation_image(stem, name, number))
            if name:
                runner.logger.info('%s:', name)
            found[name] = evaluate(
                dataset, areas[name], runner.logger, self.metric, self.from_synthia
            )
        runner.log_buffer.output.update(found[''] if '' in found else join_metrics(found))
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook):
                hook.log(runner)
        runner.log_buffer.clear_output()
        for name, dataset in self.datasets.items():
            self._warn_of_lost_classes(runner, name, areas[name])
            confusion = areas[name][:-1, :-1].tolist()
            show_evaluation(runner, name, images[name], confusion, dataset.CLASSES)
        show_sampling(runner)
        write_confusion(f'{stem}.json', self.datasets, areas, runner.iter + 1)

    def _warn_of_lost_classes(self, runner, dataset_name, areas):
        """Warn of classes that an earlier evaluation found, and that are predicted nowhere now."""
        found, predicted = found_classes(runner.work_dir, dataset_name), areas.sum(0)[:-1]
        classes = zip(self.datasets[dataset_name].CLASSES, predicted, strict=True)
        lost = [name for name, pixels in classes if name in found and not pixels]
        if lost:
            where = f'Iteration {runner.iter + 1}' + (f', {dataset_name}' if dataset_name else '')
            what = '%s: the student predicts nowhere any more: %s'
            runner.logger.warning(what, where, ', '.join(lost))


def is_due(iteration, interval, max_iters):
    """Whether a run is evaluated after so many iterations."""
    return iteration % interval == 0 or iteration == max_iters


class RareClassRecord(Hook):
    """Writes ``evaluation/rare_class_sampling.json`` at every evaluation and at the end.

    What was drawn follows from the samples' numbers: nothing is asked of the data workers, and a
    resumed run counts again from its beginning, as if with its present number of processes.
    """

    def __init__(self, dataset, samples_per_iteration, evaluation):
        self.dataset = dataset
        self.samples_per_iteration = samples_per_iteration
        self.evaluation = evaluation
        self._counted = 0
        self._drawn = np.zeros(len(dataset.CLASSES), int)
        self._drawn_from = np.zeros(len(dataset.sources.datasets), int)

    def after_train_iter(self, runner):
        due = self.is_last_iter(runner) or (self.evaluation and self.evaluation.is_due(runner))
        if due and runner.rank == 0:
            content = json.dumps(self.content(runner.iter + 1))
            write_text(osp.join(runner.work_dir, RARE_CLASS_FILE), content + '\n')

    def content(self, iteration):
        """Return ``share`` (of pixels), ``wanted`` (probability), ``drawn`` (samples) by class.

        With several sources ``sources`` has the images of each, and how many samples they gave.
        """
        stop, sources = iteration * self.samples_per_iteration, self.dataset.sources
        for number in range(self._counted, stop):
            class_id, source_index, *_ = self.dataset.draw(number)
            self._drawn[class_id] += 1
            self._drawn_from[sources.set_of(source_index)] += 1
        self._counted = stop
        sampler = self.dataset.sampler
        share, wanted = np.zeros((2, len(self._drawn)))
        share[sampler.classes] = sampler.ratios
        wanted[sampler.classes] = sampler.probabilities
        found = dict(
            iter=iteration,
            classes=list(self.dataset.CLASSES),
            share=share.tolist(),
            wanted=wanted.tolist(),
            drawn=self._drawn.tolist(),
            min_pixels=sampler.min_pixels,
        )
        if len(sources.datasets) > 1:
            images = [len(source) for source in sources.datasets]
            found['sources'] = [
                dict(name=name, images=number, drawn=drawn)
                for name, number, drawn in zip(
                    sources.names, images, self._drawn_from.tolist(), strict=True
                )
            ]
        return found
