"""Any plain ViT of timm (DINOv2, DINOv3, EVA02, RADIO), as maps of one stride from several blocks.

Source of the token mask and of the size inside: Englert et al., VFM-UDA (2024).
"""

import contextlib

import timm
import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmseg.models.adapters.base import AdaptedEncoder
from mmseg.models.builder import BACKBONES
from mmseg.models.memory import in_format_of
from mmseg.models.vit_weights import mask_token_of, to_timm
from mmseg.models.weights import pretrained_init_cfg
from mmseg.utils.user_error import UserError

LEVELS = 4


@BACKBONES.register_module()
class TimmViT(AdaptedEncoder):
    """A plain ViT of timm, by its name; all levels have its stride and width.

    Args:
        model_name: timm's, e.g. 'vit_large_patch14_dinov2'.
        pretrained: a file or an address of weights (docs/weights.md); None keeps timm's random
            weights.
        out_indices: the blocks whose outputs are the levels; by default the last of each quarter.
        norm: apply timm's final norm to all levels; EVA02 and RADIO have none there.
        inside_scale: resize images by this factor, rounded down to whole patches (VFM-UDA: 1.1,
            from 1024 to 1120); None: to the next whole patch.
        positions: how absolute positions follow the image's size, 'timm' or, as Meta's DINOv2
            without registers does, 'meta'.
        mask_token: have a token, which is trained, that `masked_tokens` puts in place of others.
        frozen: never trained and always in eval mode.
        with_cp: timm's activation checkpointing of each block.
        adapt: an adapter, all that is trained beside the mask token: dict(type='LoRA'), 'SoMA' or
            'Rein', with the options of that class in mmseg/models/adapters.
        **kwargs: of the timm model, e.g. drop_path_rate=0.1, patch_size=16.
    """

    def __init__(
        self, model_name, pretrained=None, init_cfg=None, out_indices=None, norm=True,
        inside_scale=None, positions='timm', mask_token=False, frozen=False, with_cp=False,
        adapt=None, **kwargs,
    ):  # fmt: skip
        super().__init__(pretrained_init_cfg(pretrained, init_cfg))
        if not timm.is_model(model_name):
            raise UserError(f'timm has no model {model_name!r}: timm.list_models() names them')
        self.model_name = model_name
        self.timm_options = {'dynamic_img_size': True, **kwargs}
        self.timm_model = self._create()
        self.norm, self.inside_scale, self.frozen = norm, inside_scale, frozen
        self.out_indices = self._check_indices(out_indices)
        self.out_channels = [self.timm_model.embed_dim] * len(self.out_indices)
        # What no level passes through would get no gradients.
        self.timm_model.prune_intermediate_layers(self.out_indices, prune_norm=not norm)
        if positions != 'timm':
            self._use_positions_of_meta(positions)
        self.adapt(adapt)
        self.mask_token, self._hidden = None, None
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, self.timm_model.embed_dim))
            self.timm_model.patch_embed.register_forward_hook(self._replace_hidden)
        if with_cp:
            self.timm_model.set_grad_checkpointing()
        if frozen and (adapt or mask_token):
            what = 'adapter' if adapt else 'mask token'
            raise UserError(f'backbone.frozen=True would freeze the {what}, too: leave it out')
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def _create(self):
        try:
            model = timm.create_model(self.model_name, pretrained=False, **self.timm_options)
        except TypeError as error:
            if 'dynamic_img_size' not in str(error):
                raise
            model = None
        is_plain = isinstance(model, VisionTransformer | Eva)
        if not is_plain or not isinstance(model.patch_embed, PatchEmbed):
            raise UserError(
                f"{self.model_name} is no plain ViT: use backbone.type='TimmEncoder' for a "
                'hierarchical encoder'
            )
        return model

    def _check_indices(self, indices):
        depth = len(self.timm_model.blocks)
        if indices is None:
            if depth < LEVELS:
                raise UserError(
                    f'{self.model_name} has {depth} block(s) here: name those that are levels with '
                    f'out_indices, from 0 to {depth - 1}'
                )
            indices = [(level + 1) * depth // LEVELS - 1 for level in range(LEVELS)]
        indices = list(indices)
        if indices != sorted(set(indices)) or not indices or indices[0] < 0 or indices[-1] >= depth:
            raise UserError(
                f'backbone.out_indices are {indices}: use ascending numbers from 0 to {depth - 1}, '
                f'the blocks of {self.model_name}'
            )
        return indices

    def _use_positions_of_meta(self, positions):
        model = self.timm_model
        has_class_position = model.num_prefix_tokens == 1 and not model.no_embed_class
        is_vit = type(model) is VisionTransformer  # subclasses have positions of their own
        if positions != 'meta' or not is_vit or not has_class_position:
            raise UserError(
                f"backbone.positions is {positions!r}: use 'timm'; 'meta' is for DINOv2 without "
                'registers'
            )
        model.__class__ = MetaPositions

    def train(self, mode=True):
        """Stay in eval mode where frozen."""
        return super().train(mode and not self.frozen)

    def convert_weights(self, weights):
        """Translate a file's names, less what comes after the last level (see `to_timm`)."""
        own, mask_token = self.state_dict(), mask_token_of(weights)
        if not any(name.startswith('timm_model.') for name in weights):
            with torch.device('meta'):
                whole = self._create()
            left_out = {f'timm_model.{name}' for name in whole.state_dict()} - set(own)
            weights = to_timm(weights, whole, self.model_name)
            weights = {f'timm_model.{name}': value for name, value in weights.items()}
            weights = {name: value for name, value in weights.items() if name not in left_out}
        weights = {name: value for name, value in weights.items() if name != 'mask_token'}
        if self.mask_token is not None:
            weights['mask_token'] = own['mask_token'] if mask_token is None else mask_token
        return weights

    @property
    def stride(self):
        """The pixels of a patch's side, and so the stride of all levels."""
        return self.timm_model.patch_embed.patch_size[0]

    def size_inside(self, size):
        """Return the (height, width) that an image is resized to: whole patches."""
        patches = self.timm_model.patch_embed.patch_size
        if self.inside_scale is None:
            return [-(-side // patch) * patch for side, patch in zip(size, patches, strict=True)]
        sides = [side * self.inside_scale for side in size]
        return [max(int(s // p), 1) * p for s, p in zip(sides, patches, strict=True)]

    def token_grid(self, size):
        """Return the (rows, columns) of tokens of an image of (height, width)."""
        patches = self.timm_model.patch_embed.patch_size
        return [s // p for s, p in zip(self.size_inside(size), patches, strict=True)]

    @contextlib.contextmanager
    def masked_tokens(self, hidden):
        """Put the mask token in place of others in forward passes inside.

        Args:
            hidden (Tensor): (N, rows, columns) bool of `token_grid`, True where replaced.
        """
        self._hidden = hidden
        try:
            yield
        finally:
            self._hidden = None

    def _replace_hidden(self, module, inputs, tokens):
        if self._hidden is None:
            return tokens
        hidden = self._hidden.to(tokens.device).view(*tokens.shape[:-1], 1)
        return torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)

    def forward(self, img):
        """Return a map (batch, width, rows, columns) for each of `out_indices`."""
        size, grid = self.size_inside(img.shape[2:]), self.token_grid(img.shape[2:])
        if size != list(img.shape[2:]):
            img = F.interpolate(img, size, mode='bilinear', align_corners=False)
        levels = self.timm_model.forward_intermediates(
            img, self.out_indices, norm=self.norm, output_fmt='NLC', intermediates_only=True
        )
        maps = (tokens.unflatten(1, grid).permute(0, 3, 1, 2) for tokens in levels)
        return [in_format_of(each, img) for each in maps]


class MetaPositions(VisionTransformer):
    """A ViT whose positions are resampled as Meta's DINOv2 without registers does."""

    def _pos_embed(self, x):
        positions = meta_positions(self.pos_embed, self.patch_embed.grid_size, x.shape[1:3])
        class_token = self.cls_token.expand(x.shape[0], -1, -1)  # export would fix len(x)
        return self.pos_drop(torch.cat([class_token, x.flatten(1, 2)], 1) + positions)


def meta_positions(positions, native, grid):
    """Resample positions (1, 1 + h * w, D) from a native grid (h, w) to another.

    Bicubic without antialiasing; 0.1 in the factor guards against rounding, and shifts all places.
    """
    if tuple(native) == tuple(grid):
        return positions
    first, places = positions[:, :1], positions[:, 1:].unflatten(1, native)
    factors = [(new + 0.1) / old for new, old in zip(grid, native, strict=True)]
    places = F.interpolate(places.permute(0, 3, 1, 2).float(), scale_factor=factors, mode='bicubic')
    return torch.cat([first, places.permute(0, 2, 3, 1).flatten(1, 2).to(first.dtype)], 1)
