"""Start the student from a checkpoint, which may be of other classes: ``--load-from``."""

import logging

from mmseg.engine.checkpoint import load_file, load_segmentor, segmentor_weights
from mmseg.utils.user_error import UserError

# MMSegmentation's heads end in a convolution of this name, with one row for each class.
_CLASSIFIER = '.conv_seg.'


def start_from(segmentor, path, without_classifier=False):
    """Load the student of a checkpoint into an initialized segmentor.

    Where the checkpoint has the same classes in another order, the rows of the classifiers follow
    their names.

    Args:
        segmentor (EncoderDecoder): With ``CLASSES``.
        path (str): The checkpoint.
        without_classifier (bool): Keep the segmentor's own classifiers, for other classes.

    Raises:
        UserError: The checkpoint is of other classes, or does not fit.
    """
    logger = logging.getLogger('mmseg')
    content = load_file(path)
    weights = segmentor_weights(content.get('state_dict', content))
    own = {name: value for name, value in segmentor.state_dict().items() if _CLASSIFIER in name}
    if without_classifier:
        left_out = [name for name in weights if _CLASSIFIER in name]
        weights = {name: value for name, value in weights.items() if name not in left_out} | own
        logger.info('Loaded %s without its classifiers: %s', path, ', '.join(left_out) or 'none')
    else:
        order = _order_of_classes(segmentor, weights, own, content.get('meta') or {}, path)
        if order is not None:
            weights |= {name: weights[name][order] for name in own if name in weights}
            logger.info('Loaded %s with its classes put into the order of this config.', path)
    load_segmentor(segmentor, weights, path)


def _order_of_classes(segmentor, weights, own, meta, path):
    """Where each class stands in the checkpoint; None if the order is the same, or not known."""
    wanted, found = list(segmentor.CLASSES), meta.get('CLASSES')
    if found is None:  # published checkpoints say nothing, but the classifiers have a size
        if all(weights[name].shape == own[name].shape for name in own if name in weights):
            return None
        found = [f'{len(weights[name])} classes' for name in own if name in weights][:1]
    found = list(found)
    if found == wanted:
        return None
    if sorted(found) == sorted(wanted):
        return [found.index(name) for name in wanted]
    raise UserError(
        f'{path} was trained on other classes ({", ".join(found)}) than those of this config '
        f'({", ".join(wanted)}). Add --load-from-without-classifier to start from the rest of it.'
    )
