"""Estimates what a training step needs of a GPU's memory, from the graph that the step builds.

The step of the config's method is carried out on torch's meta device, where tensors have a shape
and no data. So the estimate needs neither a GPU nor the memory; what it leaves out is in
docs/hrda_mic.md.
"""

import copy
import weakref
from contextlib import contextmanager
from functools import partial

import torch
import torch.fx.experimental._config as meta_options
from mmcv.cnn.utils import revert_sync_batchnorm
from prettytable import PrettyTable
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from mmseg.engine.data_sets import is_target, labelled_sets, training_sets
from mmseg.engine.performance import build_grouped_optimizer, speed_up
from mmseg.models.uda import build_train_model
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError

# What CUDA's autocast computes in 16 and in 32 bits, of the operations that networks call.
_IN_16_BITS = ('linear', 'matmul', 'conv2d')
_IN_32_BITS = ('layer_norm', 'group_norm', 'softmax.int')


def print_training_memory(cfg):
    """Print what a training step of a config needs, and what it needs with options that save it."""
    options = {
        'speed.accumulate': cfg.data.get('samples_per_gpu'),
        'model.backbone.with_cp': True,
        'speed.amp': 'bf16',
    }
    rows = {'as configured': {}, **{f'{k}={v}': {k: v} for k, v in options.items()}}
    columns = ('weights', 'optimizer', 'gradients and activations', 'in all')
    table = PrettyTable(['training, GB', *columns], align='r')
    table.align['training, GB'] = 'l'
    for name, changes in {**rows, 'all three': options}.items():
        changed = copy.deepcopy(cfg)
        changed.merge_from_dict(changes)
        try:
            found = step_memory(changed)
        except (UserError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).partition('\n')[0]
            print(f'Memory in training, {name}: not estimated ({reason})')
            if not changes:
                return
        else:
            table.add_row([name, *(f'{size / 1e9:.2f}' for size in (*found, sum(found)))])
    print(table)


def step_memory(cfg):
    """Estimate the bytes of weights, optimizer state, and all else where a step needs the most."""
    batch = empty_batch(cfg)
    method, optimizers = _build(cfg)
    part, step, is_last = next(method.gradients.split(batch, Step(seed=0, iteration=0)))
    method.check_batch(len(part['img']))
    for optimizer in optimizers:
        _make_state(optimizer)
        if is_last:  # later micro-batches find the gradients of the first
            optimizer.zero_grad()
    memory = LiveBytes()
    memory.add([*method.parameters(), *method.buffers()])
    weights = memory.now
    memory.add([optimizer.state_dict() for optimizer in optimizers])
    states = memory.now - weights
    memory.add([batch, [weight.grad for weight in method.parameters()]])
    with memory, on_gpu(), meta_options.patch(meta_nonzero_assume_all_nonzero=True):
        method._forward_backward(part, step, True)
    return weights, states, memory.peak - weights - states


def _build(cfg):
    """Build the method and its optimizers without data."""
    try:
        with torch.device('meta'):
            method = build_train_model(cfg)
    except (RuntimeError, TypeError):  # some encoders compute while they are built
        method = build_train_model(cfg).to('meta')
    method = revert_sync_batchnorm(method).train()
    method.debug_img_interval = 0
    speed_up(method, torch.device('cpu'), **{**(cfg.get('speed') or {}), 'compile': None})
    optimizer = build_grouped_optimizer(method.model, cfg.optimizer, method.trained_beside())
    return method, [optimizer, *method.optimizers.values()]


def _make_state(optimizer):
    """Let an optimizer make the state that it has from the second step on."""
    for group in optimizer.param_groups:
        group.update({key: key == 'foreach' for key in ('fused', 'foreach') if key in group})
        for weight in group['params']:
            weight.grad = torch.empty_like(weight) if weight.requires_grad else None
    optimizer.step()


def empty_batch(cfg):
    """Make a batch of the size that the pipelines of data.train crop to."""
    train, number = cfg.data.get('train') or {}, cfg.data.get('samples_per_gpu')
    sources = list(labelled_sets(train).values())
    steps = sources[0].get('pipeline') or () if sources else ()
    crops = [step.crop_size for step in steps if step.type == 'RandomCrop']
    if not (crops and number and cfg.get('optimizer')):
        raise UserError('it needs data.samples_per_gpu, optimizer, and a RandomCrop in data.train')
    empty = partial(torch.empty, device='meta')
    image, label = (number, 3, *crops[-1]), (number, 1, *crops[-1])
    metas = [dict(img_norm_cfg=dict(mean=[0.0] * 3, std=[1.0] * 3))] * number
    batch = dict(img=empty(image), img_metas=metas)
    batch['gt_semantic_seg'] = empty(label, dtype=torch.int64)
    targets = [target for place, target in training_sets(train).items() if is_target(place)]
    if targets:
        batch.update(target_img=empty(image), target_img_metas=metas)
    if any(target.get('crop_pseudo_margins') for target in targets):
        batch['valid_pseudo_mask'] = empty(label, dtype=torch.bool)
    if any(target.get('labelled') for target in targets):
        batch.update(
            {f'labelled_{key}': batch[key] for key in ('img', 'img_metas', 'gt_semantic_seg')}
        )
    return batch


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors on the meta device while they live, and the most at a time."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._sizes = {}

    def add(self, tensors):
        """Count the tensors in nested containers until they are freed, and return these."""
        return tree_map_only(torch.Tensor, self._add, tensors)

    def _add(self, tensor):
        storage = tensor.untyped_storage()  # views share it
        if tensor.is_meta and id(storage) not in self._sizes:
            self._sizes[id(storage)] = storage.nbytes()
            weakref.finalize(storage, self._free, id(storage))
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
        return tensor

    def _free(self, key):
        self.now -= self._sizes.pop(key)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        """Call an operation, and count what it returns."""
        return self.add(operation(*args, **kwargs or {}))


@contextmanager
def on_gpu():
    """Let tensors without data be computed as on a GPU: with fused attention, CUDA's autocast.

    Autocast acts where that of the CPU is on, which by itself leaves such tensors alone.
    """
    with torch.library._scoped_library('aten', 'IMPL') as library:
        for name in (*_IN_16_BITS, *_IN_32_BITS):
            operation, _, overload = name.partition('.')
            compute = getattr(getattr(torch.ops.aten, operation), overload or 'default').decompose
            in_16_bits = name in _IN_16_BITS
            library.impl(name, partial(_autocast, compute, in_16_bits), 'AutogradMeta')
        attention = partial(_autocast, _fused_attention, True)
        library.impl('scaled_dot_product_attention', attention, 'AutogradMeta')
        yield


def _autocast(compute, in_16_bits, *args, **kwargs):
    if torch.is_autocast_enabled('cpu'):
        dtype = torch.get_autocast_dtype('cpu') if in_16_bits else torch.float32

        def cast(tensor):
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs))
    return compute(*args, **kwargs)


def _fused_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **options):
    """Attention that keeps no matrix of weights for the backward pass."""
    fused = torch.ops.aten._scaled_dot_product_efficient_attention
    scale = options.get('scale')
    return fused(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
