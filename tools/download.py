"""Download the ImageNet weights of MiT encoders: ``python tools/download.py mit_b5``."""

import argparse
import os.path as osp
import re
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from tools.exit_with import exit_with
from tools.resumable_download import CorruptError, UnreachableError, download

OPENMMLAB = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer'
HUGGING_FACE = 'https://huggingface.co/nvidia'
# In OpenMMLab's file names the last part is the beginning of the file's SHA-256.
OPENMMLAB_NAMES = {
    'mit_b0': 'mit_b0_20220624-7e0fe6dd.pth',
    'mit_b1': 'mit_b1_20220624-02e5a6a1.pth',
    'mit_b2': 'mit_b2_20220624-66e8bf70.pth',
    'mit_b3': 'mit_b3_20220624-13b1141c.pth',
    'mit_b4': 'mit_b4_20220624-d588d980.pth',
    'mit_b5': 'mit_b5_20220624-658746d9.pth',
}
BY_HAND = (
    'No place could be reached. Download one of the files above on another machine and put it '
    'at {target}.'
)


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Download ImageNet weights to FOLDER/NAME.pth, from OpenMMLab or, where that '
        'cannot be reached, from Hugging Face. A download that broke off goes on where it stopped.',
        epilog="The weights are SegFormer's, which are for non-commercial use.",
    )
    parser.add_argument(
        'names', nargs='*', metavar='NAME', default=['mit_b5'],
        help=f'{", ".join(OPENMMLAB_NAMES)} (default: mit_b5, which the paper uses)',
    )  # fmt: skip
    parser.add_argument('--folder', default='pretrained', help='default: pretrained')
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in OPENMMLAB_NAMES:
            parser.error(f'there is no {name}: choose from {", ".join(OPENMMLAB_NAMES)}')
    return args


def addresses(name):
    """Where the weights of an encoder are: (URL, beginning of the SHA-256 or '') each."""
    file_name = OPENMMLAB_NAMES[name]
    checksum = re.search(r'-([0-9a-f]+)\.pth$', file_name)[1]
    hugging_face = f'{HUGGING_FACE}/{name.replace("_", "-")}/resolve/main/pytorch_model.bin'
    return [(f'{OPENMMLAB}/{file_name}', checksum), (hugging_face, '')]


def fetch(name, folder):
    """Download the weights of one encoder unless they are there; exits where it cannot."""
    target = osp.join(folder, f'{name}.pth')
    if osp.isfile(target):
        print(f'{target} is there already.')
        return
    for url, checksum in addresses(name):
        print(f'{url} -> {target}')
        try:
            download(url, target, checksum)
            return
        except UnreachableError as error:
            print(f'  {error}', file=sys.stderr)
        except CorruptError as error:
            exit_with(error)
    sys.exit(f'Error: {BY_HAND.format(target=target)}')


def main(argv=None):
    """Download what the command line names."""
    args = parse_args(argv)
    for name in args.names:
        fetch(name, args.folder)


if __name__ == '__main__':
    main()
