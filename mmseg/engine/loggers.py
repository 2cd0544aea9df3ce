"""mmcv's text and wandb loggers, as a run here needs them."""

import os
import os.path as osp
import re
import resource
import sys
import time
from datetime import timedelta

from mmcv.runner import master_only
from mmcv.runner.hooks.logger import TextLoggerHook, WandbLoggerHook

from mmseg.utils.user_error import UserError

# The first iteration is slower than all others; the next few say how fast a run is.
_FIRST_ITERATIONS = 5


class TextLogger(TextLoggerHook):
    """Says early how long a run will take, and on a CPU how much memory it needs.

    Args:
        **kwargs: As in mmcv's ``TextLoggerHook``.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._has_logged = False

    def before_run(self, runner):
        super().before_run(runner)
        self._started = time.monotonic()

    def after_train_iter(self, runner):
        super().after_train_iter(runner)
        done = runner.iter + 1 - self.start_iter
        if done == 1:
            self._first_done = time.monotonic()
        elif done == _FIRST_ITERATIONS and not self._has_logged:
            each = (time.monotonic() - self._first_done) / (done - 1)
            left = runner.max_iters - runner.iter - 1
            runner.logger.info(
                '%.3f s per iteration at first: about %s for the %d that are left, evaluations '
                'not counted. Losses follow every %d iterations.',
                each, timedelta(seconds=int(each * left)), left, self.interval,
            )  # fmt: skip

    def log(self, runner):
        """Write a line to the text log and one to the JSON log."""
        self._has_logged = True
        if 'time' in runner.log_buffer.output and runner.device.type == 'cpu':
            runner.log_buffer.output['peak_resident_mb'] = peak_resident_mb()
        return super().log(runner)

    def _log_info(self, log_dict, runner):
        if 'time' in log_dict:
            # mmcv adds up its lines, of which the first after a resume is of a shorter time than
            # it thinks, and evaluations are in none. It adds the last one to this.
            passed = time.monotonic() - self._started
            self.time_sec_tot = passed - log_dict['time'] * self.interval
        super()._log_info(log_dict, runner)


def peak_resident_mb():
    """The most memory that this process has had so far (its data workers have their own), MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == 'darwin' else 2**10)


class WandbLogger(WandbLoggerHook):
    """Keeps to the run's folder, uploads no files unasked and goes on where a run goes on.

    Args:
        init_kwargs (dict | None): Of ``wandb.init``; goes before what is set here.
        commit (bool): False, unlike mmcv's, since the losses and the evaluation of an iteration
            come one after the other: what is committed can no longer be added to.
        log_artifact (bool): Whether to upload the logs at the end.
        **kwargs: As in mmcv's ``WandbLoggerHook``.
    """

    def __init__(self, init_kwargs=None, commit=False, log_artifact=False, **kwargs):
        super().__init__(init_kwargs, commit=commit, log_artifact=log_artifact, **kwargs)

    @master_only
    def before_run(self, runner):
        name = osp.basename(osp.abspath(runner.work_dir))
        ours = dict(
            dir=runner.work_dir,
            name=name,
            id=re.sub(r'[^\w.-]', '_', f'{name}_{runner.timestamp}'),
            resume='allow',
        )
        self.init_kwargs = {**ours, **(self.init_kwargs or {})}
        # Else its own logs go to the home folder.
        cache = osp.join(osp.abspath(runner.work_dir), 'wandb', 'cache')
        os.environ.setdefault('WANDB_CACHE_DIR', cache)
        try:
            super().before_run(runner)
        except self.wandb.Error as error:
            reason = str(error).partition('\n')[0]
            raise UserError(
                f'wandb cannot start ({reason}). Log in with wandb login, set mode="offline" in '
                'the init_kwargs of log_config.hooks, or remove its hook.'
            ) from error


OWN_LOGGERS = {'TextLoggerHook': TextLogger, 'WandbLoggerHook': WandbLogger}
