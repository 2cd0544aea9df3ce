"""A trained segmentor from its config and checkpoint, ready to predict."""

from mmseg.engine.checkpoint import load_file, load_segmentor, segmentor_weights
from mmseg.engine.class_lists import class_list
from mmseg.engine.config import config_in_checkpoint
from mmseg.models import build_segmentor
from mmseg.utils.user_error import UserError


def load_trained(cfg, path, device, which='student', overrides=None):
    """Build the configured segmentor and load one network of a checkpoint into it.

    Args:
        cfg (mmcv.Config | None): Of the run; its ImageNet weights are not needed. None takes the
            one that the checkpoint keeps.
        path (str): The checkpoint.
        device (torch.device): Where to put it.
        which (str): ``'student'`` (what is reported) or ``'teacher'``.
        overrides (dict | None): Dotted keys to values, put over the config that the checkpoint
            keeps; a given one has its own already.

    Returns:
        EncoderDecoder: In eval mode, with ``CLASSES`` and ``PALETTE``, its config as ``cfg`` and
        the iterations that it was trained for as ``iteration`` (None if the file says nothing).

    Raises:
        UserError: If the file is not a checkpoint, does not fit, is of other classes, or keeps no
            config and none is given.
    """
    content = load_file(path)
    meta = content.get('meta', {})
    if cfg is None:
        cfg = config_in_checkpoint(meta, path, overrides)
    # Weights are loaded below; what `pretrained` names may be on another machine.
    segmentor = build_segmentor(_without_pretrained(cfg.model))
    load_segmentor(segmentor, segmentor_weights(content.get('state_dict', content), which), path)
    segmentor.cfg = cfg
    segmentor.iteration = meta.get('iter')
    # Published checkpoints have no meta; the data set knows its classes, too.
    names, palette = class_list(cfg.data.test)
    segmentor.CLASSES = meta.get('CLASSES', names)
    segmentor.PALETTE = meta.get('PALETTE', palette)
    if names is not None and list(segmentor.CLASSES) != names:
        raise UserError(
            f'{path} was trained on other classes ({", ".join(segmentor.CLASSES)}) than those of '
            f"the config's data.test ({', '.join(names)})."
        )
    return segmentor.to(device).eval()


def _without_pretrained(config):
    """A nested config with None wherever ``pretrained`` is stated; not all constructors know it."""
    if isinstance(config, dict):
        # Leaving the key out would bring the default back, which is True in some encoders.
        return type(config)(
            {
                key: None if key == 'pretrained' else _without_pretrained(value)
                for key, value in config.items()
            }
        )
    if isinstance(config, list | tuple):
        return type(config)(_without_pretrained(value) for value in config)
    return config
