"""Weights: from an address to a local file, loaded without running code in it, whole or not at all.

Addresses are `http(s)://…`, the names of mmcv's tables (`open-mmlab://`, `torchvision://`,
`mmcls://`) and `timm://NAME`. Downloads go to torch.hub's cache, where mmcv puts them, too.

MMSegmentation's encoders turn `pretrained` into mmcv's initializer `Pretrained`. mmcv's own
unpickles whatever is in a file, then passes over names that differ. `StrictPretrained` takes its
place, `load_from_address` that of mmcv's loaders, which some encoders call (Swin, ViT, BEiT, MAE).
"""

import errno
import hashlib
import http.client
import json
import logging
import os
import os.path as osp
import re
import urllib.parse

import timm
import torch
from mmcv.cnn.utils.weight_init import INITIALIZERS
from mmcv.runner import CheckpointLoader
from mmcv.runner import checkpoint as mmcv_checkpoint
from safetensors import safe_open

from mmseg.utils.user_error import UserError

# The first digits of the file's SHA-256, in its name: the custom of torch.hub and OpenMMLab.
CHECKSUM = re.compile(r'-([0-9a-f]{8,})\.\w+$')
# What a file may hold beyond the encoder: the classifiers of torchvision, ResNeSt, timm, mmcls.
CLASSIFIERS = ('fc.', 'classifier.', 'head.')
# What a file may lack: it is older than BatchNorm's counter.
COUNTER = 'num_batches_tracked'


class DamagedFileError(UserError):
    """A file was read and is no checkpoint, or only a part of one."""


def load_file(path):
    """Load a checkpoint or weight file to the CPU; no code in it is run.

    Args:
        path: what `torch.save` writes, or `.safetensors` with JSON under `meta` of its metadata.

    Returns:
        A dict: `state_dict` and `meta`, or as somebody else's code wrote it.

    Raises:
        DamagedFileError: the file is no checkpoint or a damaged one.
        UserError: there is no such file, or it cannot be read.
    """
    path = str(path)
    if not osp.isfile(path):
        raise UserError(f'checkpoint {path} does not exist.')
    try:
        if path.endswith('.safetensors'):
            content = _load_safetensors(path)
        else:
            content = torch.load(path, map_location='cpu', weights_only=True)
    # Damaged files raise nearly anything, but not a full memory and what the system refuses.
    except MemoryError:
        raise
    except Exception as error:
        if 'DefaultCPUAllocator' in str(error):  # torch's MemoryError
            raise
        # Offsets in a damaged archive are an invalid argument to the system.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(f'{error.filename or path}: {error.strerror}') from error
        reason = str(error).partition('\n')[0] or type(error).__name__
        raise DamagedFileError(
            f'{path} is no checkpoint, is damaged, or holds more than tensors and plain values; '
            f'download or train it again ({reason})'
        ) from error
    if not isinstance(content, dict):
        raise DamagedFileError(f'{path} holds a {type(content).__name__}, not a checkpoint')
    return content


def _load_safetensors(path):
    with safe_open(path, framework='pt') as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = json.loads((file.metadata() or {}).get('meta', '{}'))
    return {'state_dict': weights, 'meta': meta}


def read_weights(path):
    """Return the {name: tensor} of an encoder's weight file."""
    if not osp.isfile(path):
        raise UserError(
            f'the encoder weights {path} do not exist: download the ImageNet weights and put '
            'them there, or set pretrained=None to start from random weights'
        )
    content = load_file(path)
    state = content.get('state_dict', content)
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f'{path} holds no table of named weights: use the weights of an encoder')
    return {name.removeprefix('module.'): value for name, value in state.items()}


def load_strictly(module, weights, path, name='the configured network'):
    """Load weights into a module, all or none.

    Raises:
        UserError: a name or shape differs; the message names the file, the module by `name`, and
            the first of each kind.
    """
    own = module.state_dict()
    problems = {
        'missing': [key for key in own if key not in weights],
        'unknown': [key for key in weights if key not in own],
        'of another shape': [
            f'{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}'
            for key in own
            if key in weights and weights[key].shape != own[key].shape
        ],
    }
    found = [
        f'{len(keys)} {problem}: {", ".join(keys[:3])}{", …" if len(keys) > 3 else ""}'
        for problem, keys in problems.items()
        if keys
    ]
    if found:
        raise UserError(f'{path} does not fit {name}: {"; ".join(found)}.')
    module.load_state_dict(weights)


def pretrained_init_cfg(pretrained, init_cfg):
    """Return mmcv's `init_cfg` for an encoder that takes `pretrained` or `init_cfg`."""
    if pretrained and init_cfg:
        raise UserError('the encoder has both pretrained and init_cfg: leave one of them out')
    return {'type': 'Pretrained', 'checkpoint': pretrained} if pretrained else init_cfg


@INITIALIZERS.register_module(name='Pretrained', force=True)
class StrictPretrained:
    """The initializer of `init_cfg=dict(type='Pretrained', ...)`.

    An encoder with a method `convert_weights` translates a file's names with it.

    Args:
        checkpoint: a local file or an address.
        prefix: take only names that begin so, e.g. 'backbone.' of a whole segmentor's file.
        map_location: as mmcv's; unused, weights go where the module is.
    """

    def __init__(self, checkpoint, prefix=None, map_location=None):
        self.checkpoint = checkpoint
        # These files hold a classifier with its encoder at this name.
        self.prefix = prefix or ('backbone.' if checkpoint.startswith('mmcls://') else '')

    def __call__(self, module):
        weights = read_weights(local_file(self.checkpoint)).items()
        cut = len(self.prefix)
        weights = {name[cut:]: v for name, v in weights if name.startswith(self.prefix)}
        weights = getattr(module, 'convert_weights', dict)(weights)
        own, kind = module.state_dict(), type(module).__name__
        weights = {n: v for n, v in weights.items() if n in own or not n.startswith(CLASSIFIERS)}
        weights = {n: v for n, v in own.items() if n.endswith(COUNTER)} | weights
        name = f'the encoder {kind} (set pretrained to its ImageNet weights)'
        load_strictly(module, weights, self.checkpoint, name)
        logging.getLogger('mmseg').info('%s: loaded %s', kind, self.checkpoint)


@CheckpointLoader.register_scheme(
    prefixes=['', 'http://', 'https://', 'modelzoo://', 'torchvision://', 'open-mmlab://',
              'openmmlab://', 'mmcls://'],
    force=True,
)  # fmt: skip
def load_from_address(filename, map_location=None):
    """Load any checkpoint for mmcv; tensors come to the CPU."""
    return load_file(local_file(filename))


def is_address(path):
    """Whether `path` is an address (`scheme://…`) and not a file on this disk."""
    return '://' in str(path)


def local_file(path):
    """Return the path of a local file with the content of `path`, downloaded where needed."""
    if not is_address(path):
        return str(path)
    url = to_url(path)
    cached = osp.join(torch.hub.get_dir(), 'checkpoints', cache_name(url))
    if not osp.isfile(cached):
        _download(url, cached, path)
    return cached


def to_url(address):
    """Return the http(s) address behind an address."""
    scheme, _, name = address.partition('://')
    if scheme in ('http', 'https'):
        return address
    if scheme == 'timm':
        return _timm_url(name)
    if scheme in ('open-mmlab', 'openmmlab'):
        name = mmcv_checkpoint.get_deprecated_model_names().get(name, name)
        urls = mmcv_checkpoint.get_external_models()
    elif scheme in ('torchvision', 'modelzoo'):
        name = name.lower().replace('_weights', '')
        urls = mmcv_checkpoint.get_torchvision_models()
    elif scheme == 'mmcls':
        urls = mmcv_checkpoint.get_mmcls_models()
    else:
        raise UserError(
            f'{address}: only https://, http://, open-mmlab://, torchvision://, mmcls://, timm:// '
            'and local files can be loaded from'
        )
    if name not in urls:
        raise UserError(f'{address}: mmcv has no weights of that name')
    return urls[name]


def _timm_url(name):
    try:
        cfg = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        cfg = None
    if cfg is None or not cfg.has_weights or cfg.custom_load:
        raise UserError(
            f'timm://{name}: timm {timm.__version__} has no weights of that name; '
            f'its names: python -c "import timm; print(timm.list_pretrained())"'
        )
    if cfg.hf_hub_id:
        file_name = cfg.hf_hub_filename or 'model.safetensors'
        return f'https://huggingface.co/{cfg.hf_hub_id}/resolve/main/{file_name}'
    return cfg.url


def cache_name(url):
    """Return a file's name in the cache; one that identifies no file gets the URL's digest."""
    name = osp.basename(urllib.parse.urlparse(url).path)
    if CHECKSUM.search(name):
        return name
    return f'{hashlib.sha256(url.encode()).hexdigest()[:12]}_{name}'


def _download(url, target, address):
    checksum = CHECKSUM.search(target)
    os.makedirs(osp.dirname(target), exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, target, checksum and checksum[1])
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        source = url if url == address else f'{address} ({url})'
        raise UserError(
            f'{source} cannot be downloaded: {error}. Download it elsewhere and put it at '
            f'{target}, or set pretrained to where you put it.'
        ) from error
