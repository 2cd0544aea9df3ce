"""Segment one image: ``python -m demo.image_demo IMAGE CONFIG CHECKPOINT``."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmseg.engine.config import load_config
from mmseg.engine.devices import choose_device
from mmseg.engine.inference import predict_image
from mmseg.engine.predictions import paint, read_picture, write_picture
from mmseg.engine.trained import load_trained
from mmseg.utils.user_error import reports_user_errors


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog='python -m demo.image_demo',
        description='Segment an image of any size and write IMAGE_pred.png.',
        epilog='example: python -m demo.image_demo demo/demo.png work_dirs/x/x.json '
        'work_dirs/x/latest.pth',
    )
    parser.add_argument('image', help='image file')
    parser.add_argument('config', help="the run's config")
    parser.add_argument('checkpoint', help="the run's checkpoint")
    parser.add_argument('--out', help='where to write (default: IMAGE_pred.png beside the image)')
    parser.add_argument('--opacity', type=float, default=1.0, help='of the colours over the image')
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    args = parser.parse_args(argv)
    if not 0 < args.opacity <= 1:
        parser.error('--opacity must be above 0 and at most 1')
    return args


@reports_user_errors
def main(argv=None):
    """Segment one image; returns the path of the picture."""
    args = parse_args(argv)
    image = read_picture(args.image)
    cfg = load_config(args.config)
    segmentor = load_trained(cfg, args.checkpoint, choose_device(args.device))
    label = predict_image(segmentor, cfg, args.image)
    out = args.out or f'{osp.splitext(args.image)[0]}_pred.png'
    write_picture(paint(label, segmentor.PALETTE, image, args.opacity), out)
    print(f'Wrote {out}')
    return out


if __name__ == '__main__':
    main()
