"""Export a trained network as ONNX or as a torch.export program: ``python tools/export.py``."""

import argparse
import io
import json
import os.path as osp
import sys
import warnings

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import cv2
import torch
from torch import nn

from mmseg.datasets.file_errors import read_image
from mmseg.engine.config import load_config
from mmseg.engine.data_sets import first_named
from mmseg.engine.trained import load_trained
from mmseg.utils.files import atomic_write
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.given_config import inference_size

IMAGE = osp.join(osp.dirname(__file__), '..', 'demo', 'demo.png')
INPUT = 'image: (N, 3, H, W) uint8, RGB, 0 to 255'
OUTPUTS = {
    'labels': 'labels: (N, H, W) uint8, indices into classes',
    'logits': 'logits: (N, classes, H, W) float32, before the softmax',
}


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Export the network of a checkpoint. It takes raw images; normalisation is '
        'inside. It is compared with the original one on demo/demo.png.',
        epilog='example: python tools/export.py work_dirs/x/latest.pth --out model.onnx',
    )
    add = parser.add_argument
    add('checkpoint', help="a run's checkpoint, or a published file")
    add('--out', required=True, metavar='FILE', help='.onnx, or .pt2 for torch')
    add('--config', help='where the checkpoint holds none')
    add('--shape', nargs=2, type=int, metavar=('H', 'W'), help="default: the config's test size")
    add('--output', choices=['labels', 'logits'], default='labels', help='default: labels')
    add('--weights', choices=['student', 'teacher'], default='student', help='which network')
    args = parser.parse_args(argv)
    if not args.out.endswith(('.onnx', '.pt2')):
        parser.error(f'--out {args.out}: ONNX ends in .onnx, torch.export in .pt2')
    return args


@reports_user_errors
@torch.no_grad()
def main(argv=None):
    """Export, compare, write; returns the path."""
    args = parse_args(argv)
    cfg = load_config(args.config) if args.config else None
    segmentor = load_trained(cfg, args.checkpoint, torch.device('cpu'), args.weights)
    network = ImageToLabels(segmentor, norm_cfg_of(segmentor.cfg), args.output)
    height, width = args.shape or inference_size(segmentor.cfg)

    image = cv2.resize(read_image(IMAGE), (width, height))[..., ::-1]
    image = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    expected = network(image)
    try:
        content = export(network, image, args.out, metadata_of(network, args.weights))
        found = run(content, args.out, image)
    except Exception as error:  # the exporters' reasons have no common type
        raise UserError(
            f'torch {torch.__version__} cannot export this network to {args.out}: '
            f'{str(error).strip().partition(chr(10))[0]}'
        ) from error
    agreement = check_agreement(found, expected)
    with atomic_write(args.out) as file:
        file.write(content)
    print(f'{args.out}: {len(content) / 1e6:.1f} MB for images of {height} x {width}')
    print(f'input {INPUT}\noutput {OUTPUTS[args.output]}')
    print(f'{agreement:.3%} of the output for demo/demo.png is what the original network gives')
    return args.out


class ImageToLabels(nn.Module):
    """A segmentor in eval mode with the normalisation before it and the argmax after it."""

    def __init__(self, segmentor, norm_cfg, output):
        super().__init__()
        self.segmentor = segmentor
        self.norm_cfg = norm_cfg
        self.output = output
        for name in ('mean', 'std'):
            self.register_buffer(name, torch.tensor(norm_cfg[name]).float().view(1, 3, 1, 1))
        self.eval()

    def forward(self, image):
        if not self.norm_cfg['to_rgb']:
            image = image.flip(1)
        logits = self.segmentor.encode_decode((image.float() - self.mean) / self.std, None)
        return logits if self.output == 'logits' else logits.argmax(1).to(torch.uint8)


def norm_cfg_of(cfg):
    """The mean, std and to_rgb that a config's test pipeline normalises with."""
    pipeline = first_named(cfg.data.test).pipeline
    steps = [part for step in pipeline for part in (step, *step.get('transforms', ()))]
    for step in steps:
        if step['type'] == 'Normalize':
            return dict(mean=step['mean'], std=step['std'], to_rgb=step.get('to_rgb', True))
    raise UserError('data.test.pipeline has no Normalize, which the exported file does itself.')


def metadata_of(network, weights):
    """What a file holds beside the graph: strings, as ONNX has it."""
    segmentor = network.segmentor
    values = dict(
        classes=list(segmentor.CLASSES), palette=[list(color) for color in segmentor.PALETTE],
        weights=weights, iter=segmentor.iteration, **network.norm_cfg,
    )  # fmt: skip
    texts = dict(name=str(segmentor.cfg.name), input=INPUT, output=OUTPUTS[network.output])
    return {**texts, **{key: json.dumps(value) for key, value in values.items()}}


def export(network, image, path, metadata):
    """Export a network for any number of images of one size; returns the content of the file."""
    # From an example of one image torch would conclude that there is always one.
    example, batch = torch.cat([image, image]), {'image': {0: torch.export.Dim('batch')}}
    with warnings.catch_warnings(action='ignore'):
        program = torch.export.export(network, (example,), dynamic_shapes=batch)
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop('stack_trace', None)  # names files of this machine
        if path.endswith('.onnx'):
            onnx_program = torch.onnx.export(
                program, verbose=False, input_names=['image'], output_names=[network.output]
            )
            onnx_program.model.metadata_props.update(metadata)
            return onnx_program.model_proto.SerializeToString()
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={'meta': json.dumps(metadata)})
        return file.getvalue()


def run(content, path, images):
    """Run the content of an exported file on images, as its user would."""
    if path.endswith('.onnx'):
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        return torch.from_numpy(session.run(None, {'image': images.numpy()})[0])
    return torch.export.load(io.BytesIO(content)).module()(images)


def check_agreement(found, expected):
    """The ratio of equal labels, or logits up to rounding; it must be at least 99.9 %."""
    equal = torch.isclose(found.float(), expected.float(), rtol=0, atol=1e-3)
    agreement = equal.double().mean().item()
    if agreement < 0.999:
        raise UserError(f'only {agreement:.3%} of the output agrees. Nothing is written.')
    return agreement


if __name__ == '__main__':
    main()
