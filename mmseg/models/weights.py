"""Weights: from an address to a local file, loaded without running code in it, whole or not at all.

mmcv's initializer `Pretrained` unpickles whatever is in a file, then passes over names that differ.
`StrictPretrained` takes its place, `load_from_address` that of mmcv's loaders, which some encoders
call (Swin, ViT, BEiT, MAE).
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
# What a file may hold beyond the encoder: the classifiers of torchvision, ResNeSt, timm.
CLASSIFIERS = ('fc.', 'classifier.', 'head.')


class DamagedFileError(UserError):
    """A file was read and is no checkpoint, or only a part of one."""


def load_file(path):
    """Load a checkpoint or weight file (`.safetensors`: with `meta`) to the CPU, running no code.

    Raises:
        DamagedFileError: the file is no checkpoint or a damaged one.
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


def load_strictly(module, weights, path, name='the configured network'):
    """Load weights into a module, called `name` in messages, all or none."""
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
    """The initializer of `init_cfg=dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`.

    An encoder with a method `convert_weights` translates a file's names with it.
    """

    def __init__(self, checkpoint, prefix=None, map_location=None):
        self.checkpoint = checkpoint
        self.prefix = prefix or ''

    def __call__(self, module):
        content = load_file(local_file(self.checkpoint))
        weights = content.get('state_dict', content)
        weights = {name.removeprefix('module.'): value for name, value in weights.items()}
        cut = len(self.prefix)
        weights = {n[cut:]: v for n, v in weights.items() if n.startswith(self.prefix)}
        weights = getattr(module, 'convert_weights', dict)(weights)
        own, kind = module.state_dict(), type(module).__name__
        weights = {n: v for n, v in weights.items() if n in own or not n.startswith(CLASSIFIERS)}
        adapter = getattr(module, 'adapter_weights', dict)()
        if not adapter.keys() & weights.keys():  # a file of the encoder alone
            weights = adapter | weights
        # Older files lack BatchNorm's counter.
        weights = {n: v for n, v in own.items() if n.endswith('num_batches_tracked')} | weights
        name = f'the encoder {kind} (set pretrained to its ImageNet weights)'
        load_strictly(module, weights, self.checkpoint, name)
        logging.getLogger('mmseg').info('%s: loaded %s', kind, self.checkpoint)


@CheckpointLoader.register_scheme(prefixes=list(CheckpointLoader._schemes), force=True)
def load_from_address(filename, map_location=None):
    """Load any checkpoint for mmcv; tensors come to the CPU."""
    return load_file(local_file(filename))


def local_file(path):
    """Return the path of a local file with the content of `path`, downloaded where needed."""
    if '://' not in str(path):
        return str(path)
    url = to_url(path)
    cached = osp.join(torch.hub.get_dir(), 'checkpoints', cache_name(url))
    if osp.isfile(cached):
        return cached
    checksum = CHECKSUM.search(cached)
    os.makedirs(osp.dirname(cached), exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, cached, checksum and checksum[1])
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise UserError(
            f'{path} ({url}) cannot be downloaded: {error}. Download it elsewhere and put it at '
            f'{cached}, or set pretrained to where you put it.'
        ) from error
    return cached


def to_url(address):
    """Return the URL behind an address."""
    scheme, _, name = address.partition('://')
    if scheme in ('http', 'https'):
        return address
    if scheme == 'timm':
        return _timm_url(name)
    if scheme == 'open-mmlab':
        name = mmcv_checkpoint.get_deprecated_model_names().get(name, name)
        urls = mmcv_checkpoint.get_external_models()
    elif scheme == 'torchvision':
        name = name.lower().replace('_weights', '')
        urls = mmcv_checkpoint.get_torchvision_models()
    else:
        raise UserError(
            f'{address}: use https://, http://, open-mmlab://, torchvision://, timm:// or a file'
        )
    if name not in urls:
        raise UserError(f'{address}: mmcv has no weights of that name')
    return urls[name]


def _timm_url(name):
    cfg = timm.get_pretrained_cfg(name) if timm.is_model_pretrained(name) else None
    if cfg is None or cfg.custom_load:
        raise UserError(f'timm://{name}: no such weights; timm.list_pretrained() names them')
    if cfg.hf_hub_id:
        file_name = cfg.hf_hub_filename or 'model.safetensors'
        return f'https://huggingface.co/{cfg.hf_hub_id}/resolve/main/{file_name}'
    return cfg.url


def cache_name(url):
    """Return a file's name in the cache; one that identifies no file gets the URL's digest."""
    name = osp.basename(urllib.parse.urlparse(url).path)
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return name if CHECKSUM.search(name) else f'{digest}_{name}'
