"""Puts a run together from its config: data, model, optimizer, runner, logs."""

import copy
import json
import os.path as osp
import platform

import torch
from mmcv.cnn.utils import revert_sync_batchnorm
from mmcv.runner import LrUpdaterHook, get_dist_info

from mmseg.datasets import build_dataset
from mmseg.datasets.dataloader import RunBatches, build_loader
from mmseg.datasets.file_errors import build_files
from mmseg.datasets.uda_dataset import DGDataset, SeededEpochs
from mmseg.engine.checkpoint import check_holds_state, finish, load_file, newest_loadable
from mmseg.engine.checks.errors import config_errors
from mmseg.engine.data_sets import named
from mmseg.engine.dry_run import (
    check_samples_of_sets,
    check_test_sample,
    check_training_sample,
    dry_run,
)
from mmseg.engine.evaluation import is_from_synthia, loading
from mmseg.engine.hooks import Evaluation, RareClassRecord, is_due
from mmseg.engine.logs import evaluation_stem, open_log, truncate_logs
from mmseg.engine.performance import build_grouped_optimizer, set_determinism, speed_up
from mmseg.engine.runner import SeededRunner
from mmseg.engine.style_prototypes import StylePrototypes
from mmseg.engine.tensorboard import TensorboardImages
from mmseg.engine.trained import start_from
from mmseg.models.uda import build_train_model
from mmseg.utils.collective import gather_over_ranks
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError


def train(cfg, device, changes=''):
    """Train as a checked config says, resuming from what its ``work_dir`` holds.

    ``changes`` is what differs from the last start of the run, for its log. Returns the signal that
    stopped the run before its end, None if it ended.
    """
    set_determinism(cfg)
    warnings = []
    rank, world_size = get_dist_info()
    path, checkpoint = _checkpoint_to_resume(cfg, warnings.append)
    _check_ranks_agree(checkpoint)
    done = checkpoint['meta']['iter'] if path else 0
    if rank == 0:
        truncate_logs(cfg.work_dir, done)
    lacks_evaluation = _lacks_evaluation(cfg, done)
    logger, timestamp = open_log(cfg)
    for warning in warnings:
        logger.warning(warning)
    if path:
        logger.info('Resuming from %s', path)
    if path and changes:
        logger.info('Resuming with %s', changes)
    if done >= cfg.runner.max_iters and not lacks_evaluation:
        if rank == 0:
            finish(cfg.work_dir, cfg.runner.max_iters)
        logger.info('This run is finished; nothing is left to do. (%s)', cfg.work_dir)
        return None

    dataset, evaluation, model, optimizer = _build_parts(cfg, device, checkpoint is not None)
    prototypes = None
    if cfg.get('style_hallucination_hook') is not None:
        hallucination = model.model.backbone.style_hallucination
        prototypes = StylePrototypes(dataset.sources, hallucination, **cfg.style_hallucination_hook)
    grad_clip = (cfg.get('optimizer_config') or {}).get('grad_clip')
    speed_up(model, device, grad_clip, **(cfg.get('speed') or {}))
    if world_size > 1:
        model.student.distribute(cfg.get('find_unused_parameters', False))
    records = []
    if getattr(dataset, 'labelled', None) is not None and rank == 0:
        _write_labelled(cfg.work_dir, dataset, logger)
    if isinstance(dataset, DGDataset) and dataset.sampler is not None:
        logger.info(dataset.sampler.summary(dataset.CLASSES))
        batch_size = cfg.data.samples_per_gpu * world_size
        records.append(RareClassRecord(dataset, batch_size, evaluation))
    if any(hook.type == 'TensorboardLoggerHook' for hook in cfg.log_config.hooks):
        records.append(TensorboardImages())
    runner = SeededRunner(
        model=model,
        optimizer=optimizer,
        work_dir=cfg.work_dir,
        logger=logger,
        meta=_meta(cfg, dataset),
        max_iters=cfg.runner.max_iters,
        seed=cfg.seed,
        device=device,
    )
    runner.timestamp = timestamp
    with config_errors('lr_config, checkpoint_config or log_config'):
        runner.register_hooks(
            cfg.lr_config,
            {**cfg.checkpoint_config, 'by_epoch': False},
            cfg.log_config,
            evaluation,
            records,
            prototypes,
        )
        _try_schedule(runner)
    if checkpoint is not None:
        runner.resume(checkpoint, path, lacks_evaluation)
        logger.info('Resumed after iteration %d.', runner.iter)
        before = checkpoint['meta'].get('environment')
        if before != _environment():
            logger.warning(
                'The run began under %s and resumes under %s: it will not be bit-identical to '
                'an uninterrupted one.', before, _environment(),
            )  # fmt: skip
    batches = RunBatches(
        runner.iter, cfg.runner.max_iters, cfg.data.samples_per_gpu, rank, world_size
    )
    logger.info('Training on %s, checkpoints and logs in %s', device, cfg.work_dir)
    if world_size > 1:
        logger.info(
            'A batch has %d images from each of %d processes. optimizer.lr=%g is %s (scale_lr).',
            cfg.data.samples_per_gpu, world_size, cfg.optimizer.lr,
            f'multiplied by {world_size}' if cfg.get('scale_lr') else 'taken as it is',
        )  # fmt: skip
    # Its tensors are in the model now, and would stay in memory beside it.
    checkpoint = None
    runner.run(build_loader(dataset, batches, cfg.data.workers_per_gpu, device))
    return runner.stopped_by


def _write_labelled(work_dir, train_set, logger):
    """Write down which images of the target have labels, a file for each of several targets."""
    pairs = zip(train_set.labelled_targets, train_set.labelled.datasets, strict=True)
    for number, dataset in pairs:
        suffix = f'_{number}' if len(train_set.targets.datasets) > 1 else ''
        path = osp.join(work_dir, f'labelled_target{suffix}.txt')
        names = [info['filename'] for info in dataset.img_infos]
        write_text(path, ''.join(f'{name}\n' for name in names))
        logger.info('%d images of %s have labels: %s', len(names), dataset.img_dir, path)


def _try_schedule(runner):
    """Compute a learning rate: a policy's values may fit each by itself and not together."""
    for hook in runner.hooks:
        if isinstance(hook, LrUpdaterHook):
            trial = copy.deepcopy(hook)  # some append to a list before each run
            trial.before_run(runner)
            trial.get_regular_lr(runner)


def _lacks_evaluation(cfg, iteration):
    """Whether a run was stopped or killed between the state of an iteration and its evaluation."""
    interval, max_iters = (cfg.get('evaluation') or {}).get('interval'), cfg.runner.max_iters
    lacks = bool(
        interval
        and 0 < iteration <= max_iters
        and is_due(iteration, interval, max_iters)
        and not osp.isfile(f'{evaluation_stem(cfg.work_dir, iteration)}.json')
    )
    return gather_over_ranks(lacks)[0]  # a shared folder may be seen in different states


def _build_parts(cfg, device, resumed):
    """Training data, evaluation hook, model and optimizer of a run."""
    with config_errors('data.train'):
        dataset = build_train_dataset(cfg)
        if isinstance(dataset, DGDataset):
            check_samples_of_sets(dataset.samples_of_sets())
        sample = dataset[0]
        check_training_sample(sample)
    with config_errors('data.val'):
        evaluation = _evaluation(cfg)
        test_samples = _test_samples(evaluation)
    with config_errors('model'):
        torch.manual_seed(cfg.seed)
        model = _build_model(cfg, dataset, device, resumed)
    with config_errors('optimizer'):
        lr = cfg.optimizer.lr * (get_dist_info()[1] if cfg.get('scale_lr') else 1)
        optimizer_cfg = {**cfg.optimizer, 'lr': lr}
        optimizer = build_grouped_optimizer(model.model, optimizer_cfg, model.trained_beside())
    dry_run(cfg, model, optimizer, sample, test_samples)
    return dataset, evaluation, model, optimizer


def _check_ranks_agree(checkpoint):
    begins = gather_over_ranks(0 if checkpoint is None else checkpoint['meta']['iter'])
    if len(set(begins)) > 1:
        raise UserError(
            f'the processes find checkpoints of different iterations ({begins}, by rank): work_dir '
            'must be on a file system that all machines share.'
        )


def build_train_dataset(cfg):
    """The training data set: sample number i is a function of (``cfg.seed``, i)."""
    if cfg.data.train.type in ('UDADataset', 'DGDataset'):
        return build_dataset(cfg.data.train, dict(seed=cfg.seed))
    return SeededEpochs(build_files(cfg.data.train), cfg.seed)


def _build_model(cfg, dataset, device, resumed):
    """Build and, unless a checkpoint will be loaded, initialise the model."""
    model = build_train_model(cfg)
    if get_dist_info()[1] == 1 or device.type == 'cpu':
        model = revert_sync_batchnorm(model)  # it needs several GPUs
    for network in (model, model.model):
        network.CLASSES, network.PALETTE = dataset.CLASSES, dataset.PALETTE
    if not resumed:
        model.init_weights()
        if cfg.get('load_from'):
            without_classifier = cfg.get('load_from_without_classifier', False)
            start_from(model.model, cfg.model, cfg.load_from, without_classifier)
            model.start_from_student()
    return model.to(device)


def _evaluation(cfg):
    if cfg.get('evaluation') is None:
        return None
    datasets = {
        name: build_files(config, dict(test_mode=True))
        for name, config in named(cfg.data.val).items()
    }
    return Evaluation(
        datasets,
        interval=cfg.evaluation.interval,
        metric=cfg.evaluation.get('metric', 'mIoU'),
        loading=loading(cfg, 'val'),
        from_synthia=is_from_synthia(cfg),
    )


def _test_samples(evaluation):
    """The first sample of each data set of the evaluation, checked, by its place in the config."""
    samples = {}
    for name, dataset in evaluation.datasets.items() if evaluation is not None else ():
        place = f'data.val.{name}' if name else 'data.val'
        samples[place] = dataset[0]
        check_test_sample(place, samples[place])
    return samples


def _checkpoint_to_resume(cfg, warn):
    """Return path and content of the checkpoint to resume from; (None, None) at the start."""
    own = newest_loadable(cfg.work_dir, warn) or (None, None)
    if not cfg.get('resume_from') or (own[0] and not osp.isfile(cfg.resume_from)):
        return own
    given = cfg.resume_from, load_file(cfg.resume_from)
    check_holds_state(*given)
    # The same command once more does not go back to where the run began.
    if own[0] and own[1]['meta']['iter'] > given[1]['meta']['iter']:
        warn(f'{own[0]} is more advanced than {given[0]}. To go back, choose another --work-dir.')
        return own
    return given


def _meta(cfg, dataset):
    """What a checkpoint says of its run, in plain Python."""
    return dict(
        exp_name=cfg.get('name', osp.basename(cfg.work_dir)),
        config=json.dumps(cfg._cfg_dict.to_dict()),
        CLASSES=list(dataset.CLASSES),
        PALETTE=[list(color) for color in dataset.PALETTE],
        seed=cfg.seed,
        epoch=0,
        environment=_environment(),
    )


def _environment():
    """What bit-identical results depend on, beside code, config and seed."""
    return dict(
        python=platform.python_version(),
        torch=str(torch.__version__),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
        processes=get_dist_info()[1],
    )
