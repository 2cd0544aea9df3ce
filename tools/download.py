"""Download the ImageNet weights of MiT encoders: ``python tools/download.py mit_b5``."""

import argparse
import os
import os.path as osp
import socket
import sys
import tempfile
from http.client import HTTPException

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import logging

OPENMMLAB = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer'
# The first digits of the file's SHA-256.
ENCODERS = dict(
    mit_b0='7e0fe6dd', mit_b1='02e5a6a1', mit_b2='66e8bf70',
    mit_b3='13b1141c', mit_b4='d588d980', mit_b5='658746d9',
)  # fmt: skip


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Download the ImageNet weights of MiT encoders to FOLDER/NAME.pth.',
        epilog="The weights are SegFormer's, which are for non-commercial use.",
    )
    names = f'{", ".join(ENCODERS)} (default: mit_b5, which the paper uses)'
    parser.add_argument('names', nargs='*', metavar='NAME', default=['mit_b5'], help=names)
    parser.add_argument('--folder', default='pretrained', help='default: pretrained')
    args = parser.parse_args(argv)
    for name in set(args.names) - set(ENCODERS):
        parser.error(f'there is no {name}: choose from {", ".join(ENCODERS)}')
    return args


def from_openmmlab(name, target):
    """Download an encoder's weights and check their SHA-256."""
    checksum = ENCODERS[name]
    url = f'{OPENMMLAB}/{name}_20220624-{checksum}.pth'
    print(f'{url} -> {target}')
    torch.hub.download_url_to_file(url, target, hash_prefix=checksum)


def from_hugging_face(name, target):
    """Download an encoder's weights; resumes where the connection breaks off."""
    repository, file_name = f'nvidia/{name.replace("_", "-")}', 'pytorch_model.bin'
    print(f'https://huggingface.co/{repository}/resolve/main/{file_name} -> {target}')
    with tempfile.TemporaryDirectory(dir=osp.dirname(target)) as folder:
        os.replace(hf_hub_download(repository, file_name, local_dir=folder), target)


def fetch(name, folder):
    """Download the weights of one encoder unless they are there."""
    target = osp.join(folder, f'{name}.pth')
    if osp.isfile(target):
        print(f'{target} is there already.')
        return
    os.makedirs(folder, exist_ok=True)
    for download in (from_openmmlab, from_hugging_face):
        try:
            return download(name, target)
        except (OSError, RuntimeError, HTTPException, HTTPError) as error:
            print(f'  {str(error).strip().partition(chr(10))[0]}', file=sys.stderr)
    sys.exit(
        'Error: the weights cannot be downloaded here. Download one of the files above elsewhere '
        f'and put it at {target}.'
    )


def main(argv=None):
    """Download what the command line names."""
    args = parse_args(argv)
    socket.setdefaulttimeout(30)  # torch.hub sets none
    logging.set_verbosity_error()
    for name in args.names:
        fetch(name, args.folder)


if __name__ == '__main__':
    main()
