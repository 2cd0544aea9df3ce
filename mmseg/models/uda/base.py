"""What every way of training shares: one iteration, from a batch to the optimizer's step."""

import contextlib
import copy
import dataclasses
import itertools

import torch
from torch import nn

from mmseg.models.builder import SEGMENTORS, build_segmentor
from mmseg.models.uda.debug_images import save_debug_images
from mmseg.models.uda.student import Student
from mmseg.models.uda.teacher import Teacher, teacher_mode
from mmseg.utils.collective import average_over_ranks
from mmseg.utils.gradients import Gradients, NonFiniteError, Snapshot, total_loss


class UDAMethod(nn.Module):
    """A way of training a segmentor, stated as a list of losses; registered in ``SEGMENTORS``.

    A method implements :meth:`losses` and names its ``terms``; it may hold more networks than the
    student and follow the student after each step.

    Args:
        model (dict): Config of the segmentor.
        debug_img_interval (int): Iterations between debug images; 0 = none.
        print_grad_magnitude (bool): Log gradient norms per loss; costs a backward pass for each.

    Attributes:
        terms (tuple[str]): Names of what ``losses`` yields, in this order.
        needs_target (bool): Whether ``losses`` reads images of a target.
        hallucinates_styles (bool): Whether ``losses`` uses :class:`StyleHallucination`.
        model (BaseSegmentor): The student: what is trained, tested and exported.
        student (Student): Calls it, on one device or many: losses, logits and features at once.
        gradients (Gradients): Micro-batches, loss scaling and clipping.
        optimizers (dict[str, Optimizer]): Of networks that the method trains beside the student.
            They are saved with its own; :meth:`after_step` lets them step.
    """

    terms = ()
    needs_target = True
    hallucinates_styles = False

    def __init__(self, model, debug_img_interval=0, print_grad_magnitude=False):
        super().__init__()
        self.debug_img_interval = debug_img_interval
        self.print_grad_magnitude = print_grad_magnitude
        self.model = build_segmentor(copy.deepcopy(model))
        self.student = Student(self.model)
        self.gradients = Gradients()
        self.optimizers = {}
        self._teachers = []
        self._before = None

    def add_teacher(self, model, alpha):
        """Build a segmentor that follows the student from now on, and labels in its own mode."""
        network = build_segmentor(copy.deepcopy(model)).requires_grad_(False)
        self._teachers.append(Teacher(network, self.model, alpha))
        return network

    def losses(self, batch, step):
        """Yield losses as of ``forward_train`` for each of ``terms``; a backward pass follows each.

        Entries with ``loss`` in their name are summed, all others are only logged.
        """
        raise NotImplementedError

    def networks(self):
        """List the segmentors and encoders that compute in an iteration, the student first."""
        return list(self.children())

    def trained_beside(self):
        """List what the student's optimizer trains beside the student, with its plain options."""
        return []

    def check_batch(self, size):
        """Refuse a (micro-)batch of a size that cannot be trained on, by a :class:`UserError`."""

    def start_from_student(self):
        """Let the networks that follow the student start as its copies."""
        for teacher in self._teachers:
            teacher.start()

    def after_step(self, step):
        """Follow the student, after the optimizer's step, to where the next iteration wants it."""
        for teacher in self._teachers:
            teacher.follow(step.iteration + 1)

    def train(self, mode=True):
        """Set the student's mode; teachers label in their own."""
        super().train(mode)
        if mode:
            for teacher in self._teachers:
                teacher_mode(teacher.network)
        return self

    def init_weights(self):
        """Initialise the student, with its pretrained file if it has one, and what follows it."""
        # mmcv would log a paragraph for every single parameter.
        self.model._dump_init_info = lambda logger_name: None
        self.model.init_weights()
        self.start_from_student()

    def train_step(self, data_batch, optimizer, *, step):
        """Carry out one iteration; return ``log_vars`` (name to float) and ``num_samples``.

        A batch has ``img`` (N, 3, H, W), ``img_metas`` and ``gt_semantic_seg`` (N, 1, H, W), with a
        target also ``target_img`` and ``target_img_metas``. Where a few images of the target have
        labels it has the first three of such images, too, with ``labelled_`` before their names;
        their losses are one more term.

        Raises:
            NonFiniteError: Before the optimizer's step; all weights and buffers are as they were.
        """
        if self._before is None:
            self._before = Snapshot(self.buffers())
        self._before.take()
        for each in (optimizer, *self.optimizers.values()):
            each.zero_grad()
        try:
            parts = [
                self._forward_backward(part, part_step, is_last)
                for part, part_step, is_last in self.gradients.split(data_batch, step)
            ]
            # DistributedDataParallel does not know these.
            average_over_ranks([weight.grad for weight in self.trained_beside()])
            log_vars = self.gradients.step(optimizer, parts, self.optimizers.values())
        except NonFiniteError:
            self._before.restore()
            raise
        self.after_step(step)
        return dict(log_vars=log_vars, num_samples=len(data_batch['img_metas']))

    def _forward_backward(self, batch, step, is_last):
        """Add the gradients of all terms and return what is logged: name to scalar tensor."""
        logged = {}
        interval = self.debug_img_interval
        if interval and step.iteration % interval == 0 and step.work_dir is not None:
            step = dataclasses.replace(step, pictures={})
        self.student.begin(step)
        names, all_losses = self.terms, self.losses(batch, step)
        if 'labelled_img' in batch:
            names = (*names, 'labelled')
            all_losses = itertools.chain(all_losses, self._labelled_losses(batch))
        for term in names:
            # The ranks average their gradients in the last backward pass of an iteration.
            averages = is_last and term == names[-1]
            with contextlib.nullcontext() if averages else self.student.no_sync():
                losses = next(all_losses)
                if self.print_grad_magnitude:
                    logged |= self._gradient_norms(losses, term)
                total, values = total_loss(losses)
                self.gradients.add(total)
            logged |= values
            logged['loss'] = logged.get('loss', 0) + total.detach()
        assert next(all_losses, None) is None, 'losses() yields more than its terms'
        if step.pictures:
            save_debug_images(step, batch['img_metas'][0]['img_norm_cfg'], self.PALETTE)
            self.student.begin(None)  # and keep no picture
        return logged

    def _labelled_losses(self, batch):
        """Yield the losses of target images that have labels, where a few do."""
        img, metas = batch['labelled_img'], batch['labelled_img_metas']
        label = batch['labelled_gt_semantic_seg']
        losses = self.student(img, metas, label, row='labelled').losses
        yield {f'labelled.{name}': loss for name, loss in losses.items()}

    def _gradient_norms(self, losses, term):
        """Compute the L2 norm of each loss's gradient over the student, to see which dominates."""
        weights = [p for p in self.model.parameters() if p.requires_grad]
        norms = {}
        for name, loss in losses.items():
            if 'loss' in name:
                grads = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
                squares = [grad.double().square().sum() for grad in grads if grad is not None]
                if squares:  # a loss may be of another network alone
                    norms[f'{term}.grad.{name}'] = torch.stack(squares).sum().sqrt()
        return norms


@SEGMENTORS.register_module()
class Supervised(UDAMethod):
    """Trains a segmentor on labelled images; its checkpoints are those of the segmentor alone."""

    terms = ('labels',)
    needs_target = False

    def losses(self, batch, step):
        """Yield the losses of the heads."""
        yield self.student(batch['img'], batch['img_metas'], batch['gt_semantic_seg']).losses

    def state_dict(self, *args, **kwargs):
        """Return the segmentor's own, without a prefix."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args, **kwargs):
        """Load the segmentor's own."""
        return self.model.load_state_dict(*args, **kwargs)
