"""Training without UDA in parts, in ranks, with scaled losses or clipped gradients."""

from mmcv.runner.hooks import OptimizerHook

from mmseg.models.uda.student import Student
from mmseg.utils.finite import check_losses
from mmseg.utils.gradients import mean_of


def is_plain(optimizer_config):
    """Whether a config's ``optimizer_config`` asks for nothing but gradient clipping."""
    hook = {'type': 'OptimizerHook', 'grad_clip': None, **(optimizer_config or {})}
    return hook['type'] == 'OptimizerHook' and len(hook) == 2


class SupervisedSteps(OptimizerHook):
    """Takes the backward pass into the segmentor's ``train_step`` and leaves the step to the hook.

    Args:
        segmentor (EncoderDecoder): Its ``train_step`` is replaced.
        gradients (Gradients): How they come about.
    """

    def __init__(self, segmentor, gradients):
        super().__init__()
        self.student = Student(segmentor)
        self.gradients = gradients
        self._parse_losses = segmentor._parse_losses
        segmentor.train_step = self.train_step

    def train_step(self, data_batch, optimizer, *, step):
        """Compute the gradients of a batch; see DACS.train_step for the arguments."""
        optimizer.zero_grad()
        log_vars = []
        for part, _ in self.gradients.split(data_batch, step):
            losses, _ = self.student(**part)
            total, values = self._parse_losses(losses)
            check_losses(values)
            self.gradients.add(total)
            log_vars.append(values)
        return dict(log_vars=mean_of(log_vars), num_samples=len(data_batch['img_metas']))

    def after_train_iter(self, runner):
        """Make the step and log the gradients' norm if they are clipped."""
        log_vars = self.gradients.step(runner.optimizer)
        runner.log_buffer.update(log_vars, runner.outputs['num_samples'])
