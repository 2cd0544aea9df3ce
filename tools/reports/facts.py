"""The head of a report: what was trained, on what, how far it is; and its environment."""

import os.path as osp


def state(run):
    """Finished, or how far it is."""
    result = run.result
    if result.is_finished:
        return 'finished'
    progress = f'iteration {result.reached:,} of {result.max_iters:,}'
    return progress if result.metrics else f'{progress}, no evaluation yet'


def miou(run):
    """In percent, of the last evaluation; None if there was none."""
    return run.result.metrics.get('mIoU')


def head(run):
    """(name, value) pairs; values that are not known are left out."""
    config = run.config
    facts = [
        ('started', run.started),
        ('seed', str(run.result.seed)),
        ('iterations', f'{run.result.reached:,} of {run.result.max_iters:,}'),
        ('training time', _duration(run.seconds)),
        ('per iteration', _per_iteration(run)),
        ('batch', _batch(config)),
        ('source' if run.is_uda or run.is_source_only else 'trained on', _data(run.training_set)),
        ('target', _data(_target(config))),
        ('network', _network(config)),
        ('method', _method(run)),
        ('started from', config.get('load_from') or ''),
        ('folder', osp.normpath(run.work_dir)),
    ]
    return [(name, value) for name, value in facts if value]


def environment(run):
    """(name, value) pairs."""
    facts = [
        ('git revision', run.config.get('git_rev') or ''),
        ('config', run.config_path),
        ('exp', str(run.config.get('exp', ''))),
        ('starts', f'{len(run.metas)} (each goes on where the one before stopped)'
         if len(run.metas) > 1 else ''),
    ]  # fmt: skip
    settings = {}
    for meta in run.metas:
        for key, value in (meta.get('environment') or {}).items():
            settings.setdefault(str(key), []).append(str(value))
    # A run that went on elsewhere has several.
    facts += [(key, ', then '.join(dict.fromkeys(values))) for key, values in settings.items()]
    return [(name, value) for name, value in facts if value]


def _duration(seconds):
    if seconds is None:
        return ''
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60:02} min'


def _per_iteration(run):
    last = run.train[-1]['iter'] if run.train else 0
    return f'{run.seconds / last:.3g} s' if run.seconds and last else ''


def _batch(config):
    batch = config.get('data', {}).get('samples_per_gpu')
    processes = config.get('n_gpus') or 1
    if batch is None:
        return ''
    return f'{batch}' if processes == 1 else f'{batch} on each of {processes} devices'


def _data(dataset):
    kind, root = dataset.get('type', ''), dataset.get('data_root') or ''
    folder = osp.normpath(osp.join(root, dataset.get('img_dir') or '')) if root else ''
    return ', '.join(part for part in (kind, folder) if part)


def _target(config):
    data = config.get('data', {})
    train = data.get('train')
    target = train.get('target') if isinstance(train, dict) else None
    return target or data.get('val') or {}


def _network(config):
    model = config.get('model') or {}
    parts = [model.get('backbone'), model.get('neck'), model.get('decode_head')]
    kinds = [part.get('type', '') for part in parts if isinstance(part, dict)]
    return ' + '.join(kind for kind in kinds if kind)


def _method(run):
    name = run.config.get('name_uda') or ''
    kind = (run.config.get('uda') or {}).get('type', 'supervised')
    return f'{kind} ({name})' if name and name != kind else kind
