"""From what a config calls `pretrained` to a file on this disk: addresses are downloaded first.

Addresses are `http(s)://…`, the names of mmcv's tables (`open-mmlab://`, `torchvision://`,
`mmcls://`) and `timm://NAME`. Downloads go to torch.hub's cache, where mmcv would put them, too.
They are only stored here; `weight_file` reads them without running code in them.
"""

import hashlib
import http.client
import os
import os.path as osp
import re
import urllib.parse

import timm
import torch
from mmcv.runner import checkpoint as mmcv_checkpoint

from mmseg.utils.user_error import UserError

SCHEMES = 'https://, http://, open-mmlab://, torchvision://, mmcls:// and timm://'
# The first digits of the file's SHA-256, in its name: the custom of torch.hub and OpenMMLab.
CHECKSUM = re.compile(r'-([0-9a-f]{8,})\.\w+$')


def is_address(path):
    """Whether `path` is an address (`scheme://…`) and not a file on this disk."""
    return '://' in str(path)


def local_file(path):
    """Returns the path of a local file with the content of `path`, downloaded where needed.

    Args:
        path: a local file, which comes back as it is, or an address.

    Raises:
        UserError: the address is unknown, unreachable, or its content not what its name promises.
    """
    if not is_address(path):
        return str(path)
    url = to_url(path)
    if not is_address(url):
        return url
    cached = osp.join(torch.hub.get_dir(), 'checkpoints', cache_name(url))
    if not osp.isfile(cached):
        _download(url, cached, path)
    return cached


def to_url(address):
    """Translates an address to the http(s) one behind it.

    A table of the user's own (`open_mmlab.json` in MMCV_HOME) may name local files instead.

    Raises:
        UserError: its scheme or its name is unknown.
    """
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
        raise UserError(f'{address}: only {SCHEMES} and local files can be loaded from')
    if name not in urls:
        raise UserError(f'{address}: mmcv has no weights of that name')
    if is_address(urls[name]):
        return urls[name]
    return osp.join(mmcv_checkpoint._get_mmcv_home(), urls[name])


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
    """The file's name in the cache; one that does not identify the file gets the URL's digest."""
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
