"""The training loop: mmcv's iteration-based runner with seeding, exact resume and clean stops."""

import os.path as osp
import sys

import torch
from mmcv.runner import IterBasedRunner, IterTimerHook
from mmcv.runner.hooks import CheckpointHook

from mmseg.datasets.dataloader import to_device
from mmseg.engine.checkpoint import (
    ResumeStateHook,
    finish,
    link_latest,
    prune_resume_states,
    save_file,
)
from mmseg.engine.logs import OWN_LOGGERS
from mmseg.engine.stop import StopRequest
from mmseg.engine.tensorboard import purge_after_resume
from mmseg.models.weights import load_strictly
from mmseg.utils.collective import gather_over_ranks, signal_of_any
from mmseg.utils.gradients import NonFiniteError
from mmseg.utils.seeding import Step, seed_for
from mmseg.utils.user_error import UserError

# mmcv's priorities, lower numbers first: learning rate 10, optimizer 40, loggers 90.
_TIMER, _RECORD, _CHECKPOINT, _RESUME_STATE = 70, 93, 94, 96
_KEPT_RESUME_STATES = 2


class SeededRunner(IterBasedRunner):
    """Trains for ``max_iters`` iterations, each a function of (seed, iteration) and the state.

    Args:
        device (torch.device): Of the model; batches are moved there.
        **kwargs: As in mmcv's ``IterBasedRunner``; ``model`` is a UDAMethod.

    Attributes:
        stopped_by (int | None): The signal that ended :meth:`run` before its last iteration.
    """

    def __init__(self, *, seed, device, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.device = device
        self.stopped_by = None
        self._resumed_log_window = {}
        self._saved = 0  # the last iteration whose state is in the folder
        self._lacks_evaluation = False
        self._evaluation = self._prototypes = None
        self._timer = IterTimerHook()

    def register_hooks(
        self, lr_config, checkpoint_config, log_config, evaluation, records, prototypes=None
    ):
        """Register the hooks of a run; the configs are MMSegmentation's.

        Evaluation, and picking the prototypes of styles, take their time: they can be stopped.
        """
        # Everything counts iterations here; mmcv's own defaults are epochs.
        self.register_lr_hook({'by_epoch': False, **lr_config})
        self.register_hook(self._timer, priority=_TIMER)
        hooks = [
            {'by_epoch': False, **hook, 'type': OWN_LOGGERS.get(hook['type'], hook['type'])}
            for hook in log_config['hooks']
        ]
        self.register_logger_hooks({**log_config, 'hooks': hooks})
        self._log_interval = log_config['interval']
        self._evaluation, self._prototypes = evaluation, prototypes
        for record in records:
            self.register_hook(record, priority=_RECORD)
        self.register_hook(CheckpointHook(**checkpoint_config), priority=_CHECKPOINT)
        self.register_hook(ResumeStateHook(evaluation), priority=_RESUME_STATE)

    def run(self, loader):
        """Train with exactly the batches that are left, or until a signal asks to stop."""
        self.data_loader = loader
        self.call_hook('before_run')
        if self.rank == 0:
            purge_after_resume(self)
        self.call_hook('before_epoch')
        # Only now: the loggers clear the buffer before an epoch.
        self._set_log_window(self._resumed_log_window)
        with StopRequest(again=self.world_size == 1) as stop:
            self.stopped_by = self._run(loader, stop)
        self.call_hook('after_run')
        if self.stopped_by is None and self.rank == 0:
            finish(self.work_dir, self.max_iters)

    def _run(self, loader, stop):
        """Train and evaluate; returns the signal that ended it early."""
        self.mode = 'train'
        self.model.train()
        number = None
        if self._lacks_evaluation:
            self._iter -= 1  # to the end of that iteration
            number = self._end_iteration(stop)
        batches = iter(loader)
        while number is None and self.iter < self.max_iters:
            try:
                number = self._begin_iteration(stop)
                if number is None:
                    batch = stop.interrupt(next, batches)
                    # All ranks stop before the same iteration.
                    number = signal_of_any(stop.signal)
            except Exception:
                self._save_if_newer()
                raise
            if number is None:
                self._train_iteration(to_device(batch, self.device))
                number = self._end_iteration(stop)
            else:
                self._save_if_newer()
        return number

    def _save_if_newer(self):
        if self.iter > self._saved:
            self.save_resume_state(self.iter)

    def _train_iteration(self, batch):
        # For what draws from the global generators: dropout and drop path.
        torch.manual_seed(seed_for(self.seed, 'dropout', self.iter, self.rank))
        self.call_hook('before_train_iter')
        step = Step(self.seed, self.iter, self.rank, self.work_dir, self.max_iters)
        try:
            self.outputs = self.model.train_step(batch, self.optimizer, step=step)
        except NonFiniteError as error:
            raise self._stopped_before(batch, error) from error
        self._note_losses()
        self.call_hook('after_train_iter')

    def _stopped_before(self, batch, error):
        """Save the state before an iteration that is not finite; return rank 0's error to raise."""
        lines = [f'Iteration {self.iter + 1}, the losses: {error.details}']
        for key, images in (
            ('img_metas', 'Images'),
            ('target_img_metas', 'Target images'),
            ('labelled_img_metas', 'Labelled target images'),
        ):
            if key in batch:
                names = ', '.join(meta['filename'] for meta in batch[key])
                lines.append(f'{images}: {", ".join(gather_over_ranks(names))}')
        path = self.save_resume_state(self.iter)
        gather_over_ranks(None)  # a launcher ends the others once one has ended
        if self.rank > 0:
            sys.exit(1)
        self.logger.error('\n'.join(lines))
        return UserError(
            f'iteration {self.iter + 1}: {error.what} not finite (losses and files of the batch: '
            f'above and in the log). {path} is the state before it, and the same command repeats '
            'it. Look at those files, or start another run with a lower optimizer.lr.'
        )

    def _begin_iteration(self, stop):
        """Pick prototypes of styles where they are due; returns the signal that ended it."""
        if self._prototypes is None or not self._prototypes.is_due(self):
            return None
        number = self._prototypes.run(self, stop)
        self.model.train()
        self._timer.before_epoch(self)  # as after an evaluation
        return number

    def _end_iteration(self, stop):
        """Evaluate where it is due, and count the iteration; returns the signal that ended it."""
        number = None
        if self._evaluation is not None and self._evaluation.is_due(self):
            number = self._evaluation.run(self, stop)
            self.model.train()
        self._iter += 1
        self._inner_iter = self._iter
        # Evaluation and checkpoints are no part of the time to load the next batch.
        self._timer.before_epoch(self)
        return number

    def _note_losses(self):
        self.log_buffer.update(self.outputs['log_vars'], self.outputs['num_samples'])
        # mmcv keeps every value of the run; a log line averages the last interval.
        for history in (self.log_buffer.val_history, self.log_buffer.n_history):
            for values in history.values():
                del values[: -self._log_interval]

    def save_checkpoint(self, out_dir, save_optimizer=True, create_symlink=True):
        """Save ``iter_N.pth`` after the iteration under way; called by mmcv's CheckpointHook."""
        # mmcv's hook does so on rank 0 alone.
        path = osp.join(out_dir, f'iter_{self.iter + 1}.pth')
        self._save(path, self.iter + 1, save_optimizer)
        if self.iter + 1 < self.max_iters:  # to the last one when it is evaluated: it is the end
            link_latest(path)

    def save_resume_state(self, iteration):
        """Save ``resume_N.pth`` after N iterations, keep the newest two, and return its path."""
        path = osp.join(self.work_dir, f'resume_{iteration}.pth')
        if self.rank == 0:
            self._save(path, iteration, True)
            link_latest(path)
            prune_resume_states(self.work_dir, iteration, _KEPT_RESUME_STATES)
        self._saved = iteration
        return path

    def _save(self, path, iteration, save_optimizer):
        content = dict(
            meta={**self.meta, 'iter': iteration, 'log_window': self._log_window()},
            state_dict=self.model.state_dict(),
        )
        if save_optimizer:
            content['optimizer'] = self.optimizer.state_dict()
            content['method_optimizers'] = {
                name: each.state_dict() for name, each in self.model.optimizers.items()
            }
            content['loss_scaler'] = self.model.gradients.scaler.state_dict()  # empty without one
        save_file(content, path)

    def _log_window(self):
        """The losses since the last log line, so that a resumed run logs the same averages."""
        return {
            name: [list(values), list(self.log_buffer.n_history[name])]
            for name, values in self.log_buffer.val_history.items()
            if name not in ('time', 'data_time')
        }

    def _set_log_window(self, window):
        self.log_buffer.clear()
        for name, (values, counts) in window.items():
            self.log_buffer.val_history[name] = list(values)
            self.log_buffer.n_history[name] = list(counts)

    def resume(self, checkpoint, path, lacks_evaluation=False):
        """Resume from a checkpoint that was read from ``path``; its evaluation may be lacking."""
        if checkpoint['meta'].get('CLASSES', self.meta['CLASSES']) != self.meta['CLASSES']:
            raise UserError(
                f'{path} is of other classes, or of another order of them: start a run from its '
                'weights with --load-from.'
            )
        load_strictly(self.model, checkpoint['state_dict'], path)
        self.optimizer.load_state_dict(checkpoint['optimizer'])
        for name, optimizer in self.model.optimizers.items():
            optimizer.load_state_dict(checkpoint['method_optimizers'][name])
        if checkpoint.get('loss_scaler'):
            self.model.gradients.scaler.load_state_dict(checkpoint['loss_scaler'])
        self._iter = self._inner_iter = self._saved = checkpoint['meta']['iter']
        self._lacks_evaluation = lacks_evaluation
        self._resumed_log_window = checkpoint['meta']['log_window']
