"""Trained weights from a checkpoint: a segmentor that predicts, or the start of another run."""

import copy
import logging

import torch

from mmseg.engine.checkpoint import segmentor_weights
from mmseg.engine.checks.config import check_windows
from mmseg.engine.class_lists import class_list
from mmseg.engine.config import config_in_checkpoint
from mmseg.engine.data_sets import first_named
from mmseg.models import build_segmentor
from mmseg.models.adapters.base import is_of_adapter
from mmseg.models.builder import build_head
from mmseg.models.encoder_channels import head_configs
from mmseg.models.style_hallucination import fit_prototypes
from mmseg.models.training_pass import heads_of
from mmseg.models.weights import load_file, load_strictly
from mmseg.utils.user_error import UserError


def load_trained(cfg, path, device, which='student', overrides=None):
    """Build the configured segmentor and load one network of a checkpoint into it.

    Args:
        cfg (mmcv.Config | None): Of the run; None takes the one that the checkpoint keeps.
        path (str): The checkpoint.
        device (torch.device): Where to put the segmentor.
        which (str): ``'student'`` (what is reported) or ``'teacher'``.
        overrides (dict | None): Dotted keys to values, put over the checkpoint's own config.

    Returns:
        EncoderDecoder: In eval mode, with ``CLASSES``, ``PALETTE``, ``cfg`` and ``iteration``.
    """
    content = load_file(path)
    meta = content.get('meta', {})
    if cfg is None:
        cfg = config_in_checkpoint(meta, path, overrides)
    model = copy.deepcopy(cfg.model)
    check_windows(model.get('test_cfg'))
    for part in (model, model.backbone):
        if part.get('pretrained'):  # may be on another machine, and some encoders load it here
            part.pretrained = None
    segmentor = build_segmentor(model)
    load_strictly(segmentor, _weights_for(segmentor, content, which), path)
    segmentor.cfg = cfg
    segmentor.iteration = meta.get('iter')
    # Published checkpoints have no meta; the data set knows its classes, too.
    names, palette = class_list(first_named(cfg.data.test))
    segmentor.CLASSES = meta.get('CLASSES', names)
    segmentor.PALETTE = meta.get('PALETTE', palette)
    if names is not None and list(segmentor.CLASSES) != names:
        raise UserError(
            f'{path} was trained on other classes ({", ".join(segmentor.CLASSES)}) than those of '
            f"the config's data.test ({', '.join(names)})."
        )
    return segmentor.to(device).eval()


def start_from(segmentor, model, path, without_classifier=False):
    """Load the student of a checkpoint into an initialized segmentor (``--load-from``).

    ``without_classifier`` keeps its own weights where their shape depends on the classes' number.
    """
    logger = logging.getLogger('mmseg')
    content = load_file(path)
    weights = _weights_for(segmentor, content)
    is_adapted = any(map(is_of_adapter, weights))
    if is_adapted != any(map(is_of_adapter, segmentor.state_dict())):
        raise UserError(
            f'{path} has an adapter and the config none: set model.backbone.adapt as it was '
            'trained, or merge it (tools/publish_model.py --merge)'
            if is_adapted
            else f'{path} has no adapter and the config has one: leave out model.backbone.adapt'
        )
    found, wanted = (content.get('meta') or {}).get('CLASSES'), segmentor.CLASSES
    if without_classifier:
        own, left_out = segmentor.state_dict(), _classifier_weights(segmentor, model)
        weights = weights | {name: own[name] for name in left_out}
        logger.info('Loaded %s without its classifiers: %s', path, ', '.join(left_out))
    elif found is None or wanted is None:
        logger.info('Loaded %s, which names no classes: their order was not compared.', path)
    elif list(found) != list(wanted):
        raise UserError(
            f'{path} was trained on other classes, or in another order ({", ".join(found)}): '
            'start from the rest of it with --load-from-without-classifier'
        )
    name = 'the configured network (other classes need --load-from-without-classifier)'
    load_strictly(segmentor, weights, path, name)


def _weights_for(segmentor, content, which='student'):
    """One network of a checkpoint, as a segmentor that takes weights of others names them."""
    weights = segmentor_weights(content.get('state_dict', content), which)
    weights = getattr(segmentor, 'convert_weights', dict)(weights)
    return fit_prototypes(weights, segmentor.state_dict())


def _classifier_weights(segmentor, model):
    """Find the weights that have another shape in a head for one class more, by their names."""
    names = {module: name for name, module in segmentor.named_modules()}
    found = []
    for head, config in zip(heads_of(segmentor), head_configs(model), strict=True):
        with torch.random.fork_rng(devices=[]):
            # The default of out_channels follows num_classes.
            options = {key: value for key, value in config.items() if key != 'out_channels'}
            options['num_classes'] += 1
            larger = build_head(options).state_dict()
        own = head.state_dict().items()
        found += [f'{names[head]}.{n}' for n, value in own if value.shape != larger[n].shape]
    return found
