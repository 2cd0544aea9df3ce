"""Measures the whole training step of the paper's method beside the published one."""

import multiprocessing
import os.path as osp
import resource
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial

import torch
from mmcv import Config

from mmseg.engine.performance import keep_freed_memory
from mmseg.models.builder import SEGMENTORS
from mmseg.models.encoder_channels import fill_in_channels
from mmseg.utils.seeding import Step
from tools.benchmarks import seconds, take_turns
from tools.benchmarks.published import PublishedStep

CONFIGS = osp.join(osp.dirname(__file__), '..', '..', 'configs')
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def model_config(encoder, with_cp=False):
    """Return DAFormer's segmentor with another MiT and without ImageNet weights."""
    path = osp.join(CONFIGS, '_base_/models/daformer_sepaspp_mitb5.py')
    model = Config.fromfile(path).model
    model.pretrained = None
    model.backbone = dict(type=encoder, with_cp=with_cp)
    model.decode_head.decoder_params.fusion_cfg.with_cp = with_cp
    model.decode_head.in_channels = 'from_encoder'
    fill_in_channels(model)
    return model


def build_method(encoder, device, with_cp=False):
    """Return DACS as the paper's last line has it, initialised from seed 0, in training mode."""
    uda = Config.fromfile(osp.join(CONFIGS, '_base_/uda/dacs_a999_fdthings.py')).uda
    uda.debug_img_interval = 0
    torch.manual_seed(0)
    method = SEGMENTORS.build({**uda, 'model': model_config(encoder, with_cp)})
    method.init_weights()
    return method.to(device).train()


def build_optimizer(method):
    return torch.optim.AdamW(method.model.parameters(), lr=6e-5, weight_decay=0.01)


def random_batch(size, device, batch_size=2):
    """Return normalised images, and source labels in cells of 32 pixels for feature distance."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, batch_size, 3, size, size, generator=generator).to(device)
    cells = torch.randint(19, (batch_size, 1, size // 32, size // 32), generator=generator)
    label = cells.repeat_interleave(32, 2).repeat_interleave(32, 3).to(device)
    metas = [dict(img_norm_cfg=NORM)] * batch_size
    return dict(
        img=images[0], img_metas=metas, gt_semantic_seg=label,
        target_img=images[1], target_img_metas=metas,
    )  # fmt: skip


def _prepare(is_ours, device, encoder, size, with_cp):
    """Make the step of this process, which has the memory to itself."""
    global _step
    batch, method = random_batch(size, device), build_method(encoder, device, with_cp)
    if is_ours:
        keep_freed_memory(device)
        _step = partial(method.train_step, batch, build_optimizer(method))
    else:
        published = PublishedStep(method, build_optimizer)
        _step = lambda step: published.train_step(batch, step)  # noqa: E731


def _measure(iteration, device):
    """Return the seconds of a step, and the peak memory of all so far in GB."""
    took = seconds(lambda: _step(step=Step(0, iteration)), device)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == 'cuda':
        memory = torch.cuda.max_memory_allocated(device)
    return took, memory / 1e9


def measure_training(args, device):
    """Measure the whole UDA step, and its peak memory."""
    memory, timers, spawn = {}, {}, multiprocessing.get_context('spawn')
    with ExitStack() as stack:
        for name in ('ours', 'the published step'):
            is_ours = name == 'ours'
            work = (is_ours, device, args.encoder, args.size, args.with_cp and is_ours)
            pool = stack.enter_context(ProcessPoolExecutor(1, spawn, _prepare, work))
            timers[name] = partial(_timed, pool, device, memory.setdefault(name, []))
        found = take_turns(timers, args.rounds)
    for name, peaks in memory.items():
        found[name]['peak_memory_gb'] = peaks[-1]
    return found


def _timed(pool, device, peaks):
    took, peak = pool.submit(_measure, len(peaks), device).result()
    peaks.append(peak)
    return took
