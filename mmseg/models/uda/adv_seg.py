"""AdvSeg: the student's output for target images is to look like that for source images.

Source: Tsai et al., Learning to Adapt Structured Output Space for Semantic Segmentation, CVPR 2018
(arXiv 1802.10349), section 3.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmseg.models.builder import SEGMENTORS
from mmseg.models.uda.output_space import LAMBDA, OutputSpaceMethod
from mmseg.utils.user_error import UserError

# Distances of the discriminator's scores from the domain: least squares, or cross entropy.
DISTANCES = {'LS': F.mse_loss, 'Vanilla': F.binary_cross_entropy_with_logits}
SOURCE, TARGET = 0, 1


@SEGMENTORS.register_module()
class AdvSeg(OutputSpaceMethod):
    """Trains a discriminator to tell the domains' outputs apart, and the student to fool it.

    State-dict names: ``model.`` (student), ``model_D.main.`` (discriminator).

    Args:
        model (dict): Config of the segmentor.
        discriminator_type (str): One of ``DISTANCES``.
        lr_D (float): Learning rate of the discriminator's Adam, in the beginning.
        lr_D_power (float): Of its polynomial decay.
        lr_D_min (float): Learning rate at the end.
        lambda_adv_target (dict): ``main``, the weight of the student's adversarial loss.
        **kwargs: See :class:`OutputSpaceMethod`.
    """

    def __init__(
        self, model, discriminator_type='LS',
        lr_D=1e-4, lr_D_power=0.9, lr_D_min=0,  # noqa: N803
        lambda_adv_target=LAMBDA, **kwargs,
    ):  # fmt: skip
        super().__init__(model, **kwargs)
        if discriminator_type not in DISTANCES:
            raise UserError(
                f'uda.discriminator_type is {discriminator_type!r}; known are {list(DISTANCES)}'
            )
        self.distance = DISTANCES[discriminator_type]
        self.lr_D, self.lr_D_power, self.lr_D_min = lr_D, lr_D_power, lr_D_min
        self.weight = lambda_adv_target['main']
        self.model_D = nn.ModuleDict({'main': Discriminator(self.model.out_channels)})
        adam = torch.optim.Adam(self.model_D.parameters(), lr=lr_D, betas=(0.9, 0.99))
        self.optimizers['discriminator'] = adam

    def losses(self, batch, step):
        """Yield the losses of the source images, of both outputs and, in MIC, of masked images."""
        img, img_metas, label = batch['img'], batch['img_metas'], batch['gt_semantic_seg']
        losses, source, _, _ = self.student(img, img_metas, label, row='source')
        yield losses

        target, views = self.target_pass(batch, step)
        source = self.probabilities(source.detach(), views)
        target = self.probabilities(target, views)
        # Student: its target output passes for source output. The discriminator is frozen in this
        # graph, so that one backward pass gives both networks the gradients of their own losses.
        self.model_D.requires_grad_(False)
        fooling = self._domain_loss(target, SOURCE)
        self.model_D.requires_grad_(True)
        # Discriminator: it tells the domains apart, on outputs that are given.
        yield {
            'G_trg.loss.main': self.weight * fooling,
            'D_src.loss.main': self._domain_loss(source, SOURCE) / 2,
            'D_trg.loss.main': self._domain_loss(target.detach(), TARGET) / 2,
        }

        yield from self.masked_losses(batch, step)

    def _domain_loss(self, probabilities, domain):
        scores = self.model_D['main'](probabilities)
        return self.distance(scores, torch.full_like(scores, domain))

    def after_step(self, step):
        """Let the discriminator make its step, and the teacher of the masked images follow."""
        super().after_step(step)
        adam = self.optimizers['discriminator']
        remaining = (1 - step.iteration / step.max_iters) ** self.lr_D_power
        adam.param_groups[0]['lr'] = (self.lr_D - self.lr_D_min) * remaining + self.lr_D_min
        self.gradients.step_beside(adam)

    def networks(self):
        """List the segmentors: the discriminator computes in float32, whatever they do."""
        return [network for network in super().networks() if network is not self.model_D]


class Discriminator(nn.Module):
    """Five convolutions, the scores of whose classifier are of a 32nd of the input's size.

    Args:
        inputs (int): Channels of its input.
        width (int): Channels of the first convolution, which double with each further one.
    """

    def __init__(self, inputs, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 4, 2, 1)
        self.conv2 = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 4, 2, 1)
        self.conv4 = nn.Conv2d(4 * width, 8 * width, 4, 2, 1)
        self.classifier = nn.Conv2d(8 * width, 1, 4, 2, 1)

    def forward(self, probabilities):
        """Return scores (N, 1, h / 32, w / 32) of class probabilities (N, C, h, w)."""
        x = probabilities
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.leaky_relu(convolution(x), 0.2)
        return self.classifier(x)
