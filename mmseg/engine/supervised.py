"""Training without UDA in parts, in ranks or with scaled losses, where mmcv's hook is no use."""

from mmcv.runner.hooks import OptimizerHook

from mmseg.models.uda.student import Student
from mmseg.utils.finite import check_losses
from mmseg.utils.gradients import mean_of


class SupervisedSteps(OptimizerHook):
    """Takes the backward pass into the segmentor's ``train_step`` and leaves the step to the hook.

    Args:
        segmentor (EncoderDecoder): Its ``train_step`` is replaced.
        gradients (Gradients): How they come about.
        grad_clip (dict | None): As mmcv's hook has it.
    """

    def __init__(self, segmentor, gradients, grad_clip=None):
        super().__init__(grad_clip)
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
        """Clip the gradients as configured and make the step."""
        if self.grad_clip is not None:
            self.gradients.scaler.unscale_(runner.optimizer)
            norm = self.clip_grads(runner.model.parameters())
            runner.log_buffer.update({'grad_norm': float(norm)}, runner.outputs['num_samples'])
        self.gradients.step(runner.optimizer)
