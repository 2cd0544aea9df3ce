"""Start the student from a checkpoint, which may be of other classes: ``--load-from``."""

import logging

import torch

from mmseg.engine.checkpoint import load_file, load_segmentor, segmentor_weights
from mmseg.models.builder import build_head
from mmseg.models.encoder_channels import head_configs
from mmseg.models.uda.pixel_weights import heads_of
from mmseg.utils.user_error import UserError


def start_from(segmentor, model, path, without_classifier=False):
    """Load the student of a checkpoint into an initialized segmentor.

    Where the checkpoint has the same classes in another order, the weights of each class follow
    its name.

    Args:
        segmentor (EncoderDecoder): With ``CLASSES``.
        model (dict): Its config.
        path (str): The checkpoint.
        without_classifier (bool): Keep the segmentor's own weights wherever their shape depends on
            the number of classes.

    Raises:
        UserError: The checkpoint is of other classes, or does not fit.
    """
    logger = logging.getLogger('mmseg')
    content = load_file(path)
    weights = segmentor_weights(content.get('state_dict', content))
    own = segmentor.state_dict()
    found, wanted = (content.get('meta') or {}).get('CLASSES'), segmentor.CLASSES
    known = found is not None and wanted is not None
    if without_classifier:
        left_out = _class_dimensions(segmentor, model)
        weights = weights | {name: own[name] for name in left_out}
        logger.info('Loaded %s without its classifiers: %s', path, ', '.join(left_out))
    elif known and list(found) != list(wanted):
        if sorted(found) != sorted(wanted):
            raise _other_classes(path, ', '.join(found), wanted)
        dimensions = _class_dimensions(segmentor, model)
        weights = weights | _reordered(weights, own, dimensions, found, wanted, path)
        logger.info('Loaded %s with its classes put into the order of this config.', path)
    elif not known:
        for name in _class_dimensions(segmentor, model):
            if name in weights and weights[name].shape != own[name].shape:
                what = f'{name} has shape {tuple(weights[name].shape)}'
                raise _other_classes(path, what, wanted or [f'{tuple(own[name].shape)}'])
        logger.info('Loaded %s, which names no classes: their order was not compared.', path)
    load_segmentor(segmentor, weights, path)


def _class_dimensions(segmentor, model):
    """Names of the weights whose shape depends on the number of classes, to those dimensions.

    Found by building each head for one class more: classifiers have many names.
    """
    names = {module: name for name, module in segmentor.named_modules()}
    dimensions = {}
    for head, config in zip(heads_of(segmentor), head_configs(model), strict=True):
        with torch.random.fork_rng(devices=[]):
            larger = build_head(_with_a_class_more(config)).state_dict()
        for name, value in head.state_dict().items():
            pairs = zip(value.shape, larger[name].shape, strict=True)
            differing = [i for i, (size, other) in enumerate(pairs) if size != other]
            if differing:
                dimensions[f'{names[head]}.{name}'] = differing
    return dimensions


def _with_a_class_more(config):
    if isinstance(config, list | tuple):
        return [_with_a_class_more(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {
        key: value + 1 if key == 'num_classes' else _with_a_class_more(value)
        for key, value in config.items()
        # The default of a head's out_channels follows num_classes.
        if key != 'out_channels' or 'num_classes' not in config
    }


def _reordered(weights, own, dimensions, found, wanted, path):
    order = torch.tensor([list(found).index(name) for name in wanted])
    reordered = {}
    for name, dims in dimensions.items():
        if any(own[name].shape[dim] != len(wanted) for dim in dims):
            raise UserError(
                f'{path} has the classes of this config in another order ({", ".join(found)}), '
                f'into which {name} cannot be brought: state classes in that order, or add '
                '--load-from-without-classifier.'
            )
        # What does not fit is reported when everything is loaded.
        if name in weights and weights[name].shape == own[name].shape:
            reordered[name] = weights[name]
            for dim in dims:
                reordered[name] = reordered[name].index_select(dim, order)
    return reordered


def _other_classes(path, found, wanted):
    return UserError(
        f'{path} was trained on other classes ({found}) than those of this config '
        f'({", ".join(wanted)}). Add --load-from-without-classifier to start from the rest of it.'
    )
