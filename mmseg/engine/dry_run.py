"""A dry run before iteration 0: one loss, one prediction and one optimizer step, without data.

Values of a config can be right alone and wrong together. On torch's meta device a copy of the
student does everything once that a run does to it: operations check their arguments and infer
shapes there, but allocate and compute nothing. For MiT-B5 at full size that takes about a second.
"""

import copy
import re
import shutil

import numpy as np
import torch
import torch.fx.experimental._config as meta_options
from torch import nn

from mmseg.engine.checks.errors import config_errors
from mmseg.engine.evaluation import loading
from mmseg.models.training_pass import TrainingPass
from mmseg.utils.user_error import UserError

# What torch says where an operation asks a tensor on the meta device for its values.
_LACKS_DATA = re.compile(r'\bmeta (tensor|device)|\bdevices?\b.*\bmeta\b', re.IGNORECASE)


def dry_run(cfg, model, optimizer, sample, test_samples=()):
    """Try what a run will do on its samples (mmcv's), without test samples no evaluation.

    Test samples are one of each data set of the evaluation, by the data set's place in the config.

    The model, the optimizer and the state of random numbers stay as they are.
    """
    student, optimizer_copy = _on_meta(model.model, optimizer)
    place = ['model']
    for name, part in student.named_children():
        heads = part if isinstance(part, nn.ModuleList) else [part]
        for head in heads:
            head.register_forward_pre_hook(
                lambda *_, name=name: place.__setitem__(0, f'model.{name}')
            )

    parts = (cfg.get('speed') or {}).get('accumulate', 1)
    size = cfg.data.samples_per_gpu // parts
    model.check_batch(size)
    student.train()
    for module in student.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()  # with those of the other processes there are several values
    batch = {key: _batch(sample[key].data, size) for key in ('img', 'img_metas', 'gt_semantic_seg')}
    _try(place, TrainingPass(student), **batch, generator=torch.Generator())

    student.eval()
    for path, test_sample in dict(test_samples).items():
        place[1:] = [f', evaluated as model.test_cfg and {path} say,']
        size = loading(cfg, 'val')['batch_size']
        for img, meta in zip(test_sample['img'], test_sample['img_metas'], strict=True):
            img = img.data
            if student.test_cfg.mode == 'slide':  # the network sees a window at a time
                height, width = student.test_cfg.crop_size
                img = img[:, :height, :width]
            metas = _batch(meta.data, size)
            _try(place, torch.no_grad()(student.encode_decode), _batch(img, size), metas)

    place[:] = ['optimizer']
    _try(place, _step, optimizer_copy)
    state = [value for values in optimizer_copy.state.values() for value in values.values()]
    # What is frozen in student and teacher is one tensor, and stands in the file once.
    weights = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    tensors = [*weights.values(), *filter(torch.is_tensor, state)]
    needed, free = sum(t.nbytes for t in tensors), shutil.disk_usage(cfg.work_dir).free
    if free < needed:
        raise UserError(
            f'{cfg.work_dir} has {free / 1e9:.2f} GB of free space, and a checkpoint of this run '
            f'takes {needed / 1e9:.2f} GB: make room there, or choose another --work-dir.'
        )


def _on_meta(segmentor, optimizer):
    """Copies without data, whose optimizer steps the parameters of the segmentor's copy."""
    memo = {}
    stepped = {*segmentor.parameters(), *_weights(optimizer)}  # some are not the segmentor's
    for tensor in (*stepped, *segmentor.buffers()):
        empty = torch.empty_like(tensor, device='meta')
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, tensor.requires_grad)
        memo[id(tensor)] = empty
    return copy.deepcopy((segmentor, optimizer), memo)


def _batch(value, size):
    """A batch as of ``size`` equal samples."""
    if torch.is_tensor(value):
        return torch.empty(size, *value.shape, dtype=value.dtype, device='meta')
    return [value] * size


def _try(place, function, *arguments, **options):
    """Call a function on tensors without data; blame what it raises on the place, in pieces."""
    try:
        # Tensors that networks make join theirs; the loss's accuracy counts no ignored pixels.
        with torch.device('meta'), meta_options.patch(meta_nonzero_assume_all_nonzero=True):
            function(*arguments, **options)
    except Exception as error:
        if 'more than 1 value per channel' in str(error):
            raise UserError(
                f'{"".join(place)}: BatchNorm needs more values than one per channel, as pooled '
                'from a batch of one: raise data.samples_per_gpu, or lower speed.accumulate.'
            ) from error
        # A network that looks at values cannot be tried; its first iteration will tell.
        if not isinstance(error, NotImplementedError) and not _LACKS_DATA.search(str(error)):
            with config_errors(''.join(place)):
                raise


def _weights(optimizer):
    return [weight for group in optimizer.param_groups for weight in group['params']]


def _step(optimizer):
    for group in optimizer.param_groups:
        # There are no such kernels for meta tensors; the state is the same.
        group.update({key: False for key in ('fused', 'foreach') if key in group})
    for weight in _weights(optimizer):
        weight.grad = torch.empty_like(weight) if weight.requires_grad else None
    with torch.device('cpu'):  # AdamW reads its count of steps
        optimizer.step()


def check_training_sample(sample):
    """Check that the pipelines of the training data make what training takes."""
    _check_sample('data.train', sample, ('img', 'img_metas', 'gt_semantic_seg'))
    shapes = {name: tuple(sample[name].data.shape[-2:]) for name in sample if 'metas' not in name}
    if len(set(shapes.values())) > 1:
        said = ', '.join(f'{name} {h}×{w}' for name, (h, w) in shapes.items())
        raise UserError(f'the pipelines of data.train make different sizes: {said}')


def check_samples_of_sets(samples):
    """Check that data sets, of which these are places and samples, make batches together."""
    first = {}
    for place, sample in samples:
        if isinstance(sample.get('img'), list):
            raise UserError(f'{place}.pipeline is one of tests: it has a MultiScaleFlipAug')
        _check_sample(place, sample, ('img', 'img_metas'))
        size, norm = sample['img'].data.shape[-2:], sample['img_metas'].data['img_norm_cfg']
        found = {
            'images of': f'{size[0]}×{size[1]}',
            'mean and std of': [np.asarray(norm[key]).tolist() for key in ('mean', 'std')],
        }
        first = first or {'place': place, **found}
        for what, value in found.items():
            if value != first[what]:
                raise UserError(
                    f'the pipelines of {first["place"]} and {place} make {what} {first[what]} and '
                    f'{value}: they have to be the same, as such images are in one batch'
                )


def check_test_sample(place, sample):
    """Check a sample of a data set to test on: lists over augmentations."""
    if not isinstance(sample.get('img'), list):
        raise UserError(f'{place}.pipeline has no MultiScaleFlipAug')
    _check_sample(place, {**sample, 'img': sample['img'][0]}, ('img', 'img_metas'))


def _check_sample(place, sample, keys):
    for key in keys:
        if key not in sample:
            raise UserError(f"a pipeline of {place} leaves {key} out: 'Collect' has to name it")
    for image in (sample[key].data for key in ('img', 'target_img') if key in sample):
        if not torch.is_tensor(image) or not image.is_floating_point():
            raise UserError(
                f"a pipeline of {place} leaves the image as it was read: 'Normalize' is missing, "
                "or 'DefaultFormatBundle' (in tests 'ImageToTensor')"
            )
        if not image.isfinite().all():
            raise UserError(
                f'a pipeline of {place} makes values that are not finite: correct mean and std of '
                "'Normalize'"
            )
