"""Runs of plain ViTs on StreetScenes: training, tests on whole images, tools, and mistakes."""

import cv2
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

import run_experiments
from demo import image_demo
from mmseg.engine.trained import load_trained
from tests.test_mistakes import IMAGE, refused
from tests.test_training_memory import allocated
from tests.tiny_runs import CHECKOUT, SMALL_UDA, TrainedRun, files_below, only, run_experiment
from tools import get_param_count
from tools import test as test_tool
from tools.given_config import read_config
from tools.training_memory import step_memory

pytestmark = pytest.mark.usefixtures('one_thread')

WIDTH, DEPTH, PATCH = 48, 4, 14
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
CONFIG = f"""
_base_ = ['{CHECKOUT}/configs/street_scenes/uda_mitb0.py']
model = dict(
    backbone=dict(
        _delete_=True, type='TimmViT', model_name='vit_small_patch14_dinov2', img_size=70,
        embed_dim={WIDTH}, num_heads=3, depth={DEPTH},
    ),
    decode_head=dict(in_channels='from_encoder'),
)
"""
VFM_HEAD = """
model['decode_head'] = dict(
    _delete_=True, type='VFMHead', in_channels='from_encoder', num_classes=19, align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
)
"""
SMALL = [option for option in SMALL_UDA if 'decode_head' not in option]


def write_config(folder, text=CONFIG + VFM_HEAD):
    (folder / 'vit.py').write_text(text)
    return str(folder / 'vit.py')


@pytest.fixture(scope='module')
def vit_run(tmp_path_factory, street_scenes):
    """A finished run of four iterations of VFM-UDA's network with masked images."""
    folder = tmp_path_factory.mktemp('vit')
    (folder / 'data').mkdir()
    (folder / 'data/street_scenes').symlink_to(street_scenes)
    masks = [
        'uda.mask_mode=separatetrgaug', 'uda.mask_lambda=1', 'uda.mask_generator.type=block',
        'uda.mask_generator.mask_ratio=0.5', 'uda.mask_generator.mask_block_size=16',
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = write_config(folder)
        run_experiments.main(['--config', config, '--cfg-options', *SMALL, *masks])
    return TrainedRun(folder)


@torch.no_grad()
def expected_labels(run, size):
    """The labels of an image file at a size (height, width), step by step."""
    network = load_trained(None, run.checkpoint, torch.device('cpu'))
    image = cv2.resize(cv2.imread(only(IMAGE))[..., ::-1].copy(), size[::-1])
    image = torch.from_numpy(image).permute(2, 0, 1) - torch.tensor(MEAN)[:, None, None]
    image = (image / torch.tensor(STD)[:, None, None])[None].float()
    inside = [-(-side // PATCH) * PATCH for side in size]
    image = F.interpolate(image, inside, mode='bilinear')
    tokens = network.backbone.timm_model.forward_features(image)[:, 1:]
    feature = tokens.mT.unflatten(2, [side // PATCH for side in inside])
    logits = network.decode_head.conv_seg(network.decode_head.upscale(feature))
    logits = F.interpolate(logits, size, mode='bilinear')
    original = cv2.imread(only(IMAGE)).shape[:2]
    return F.interpolate(logits, original, mode='bilinear').argmax(1)[0].numpy()


@pytest.mark.long
def test_whole_images_in_tests_and_demo(vit_run, monkeypatch, tmp_path):
    monkeypatch.chdir(vit_run.folder)
    expected = expected_labels(vit_run, (128, 256))
    assert len(np.unique(expected)) > 1
    [path] = image_demo.main(
        [only(IMAGE), vit_run.checkpoint, '--save-label-ids', '--out', str(tmp_path / 'ids.png')]
    )
    assert (cv2.imread(path, -1) == expected).mean() > 0.999

    options = [vit_run.checkpoint, '--inference-mode', 'whole']
    found = test_tool.main([*options, '--show-dir', str(tmp_path / 'shown')])
    assert 0 <= found['mIoU'] <= 1 and len(files_below(tmp_path / 'shown')) >= 3


def parameters_by_hand():
    block = 2 * 2 * WIDTH + 2 * WIDTH  # two norms, two layer scales
    block += 4 * WIDTH * WIDTH + 4 * WIDTH + 2 * 4 * WIDTH * WIDTH + 5 * WIDTH
    stem = 3 * PATCH**2 * WIDTH + WIDTH + WIDTH + (5 * 5 + 1) * WIDTH
    return stem + DEPTH * block + 2 * WIDTH


def operations_by_hand(rows, columns):
    tokens = rows * columns + 1
    block = 2 * tokens * 12 * WIDTH * WIDTH + 2 * 2 * tokens * tokens * WIDTH
    return 2 * rows * columns * 3 * PATCH**2 * WIDTH + DEPTH * block


def test_parameters_and_operations_by_hand(tmp_path):
    found = get_param_count.main([write_config(tmp_path), '--no-memory'])
    parts = {part['part']: part for part in found}
    assert parts['backbone']['parameters'] == parts['backbone']['trained'] == parameters_by_hand()
    assert parts['backbone']['flops'] == operations_by_hand(10, 19)  # of 128 x 256 pixels
    frozen = ['--cfg-options', 'model.backbone.frozen=True']
    found = get_param_count.main([write_config(tmp_path), '--no-memory', *frozen])
    assert found[0]['part'] == 'backbone' and found[0]['trained'] == 0


@pytest.mark.parametrize('options', [{}, {'model.backbone.frozen': True}])
def test_memory_of_a_step(tmp_path, options):
    cfg = read_config(write_config(tmp_path))
    cfg.data.samples_per_gpu = 2
    cfg.merge_from_dict(options)
    assert sum(step_memory(cfg)) == pytest.approx(allocated(cfg), rel=0.1)


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (['model_name=vit_smal'], ["timm has no model 'vit_smal'", 'timm.list_models()']),
        (['model_name=convnext_atto'], ['no plain ViT', "backbone.type='TimmEncoder'"]),
        (['out_indices=-1,0,1,2'], ['out_indices are [-1, 0, 1, 2]', 'from 0 to 3']),
        (
            ['model_name=vit_small_patch14_reg4_dinov2', 'positions=meta'],
            ["positions is 'meta'", 'DINOv2 without registers'],
        ),
        (['pretrained=nowhere.pth'], ['nowhere.pth']),
        (['type=TimmEncoder'], ["type='TimmViT' for a plain ViT"]),
    ],
)
def test_mistakes(workplace, options, says):
    config = write_config(workplace, CONFIG)
    with refused(*says):
        run_experiment(config, *(f'model.backbone.{option}' for option in options))


def test_weights_of_another_width(workplace):
    wide = timm.create_model('vit_small_patch14_dinov2', img_size=70, depth=4, num_classes=0)
    torch.save(wide.state_dict(), 'weights.pth')
    says = (
        r'^Error: weights\.pth .*timm_model\.cls_token \(1, 1, 384\) instead of \(1, 1, 48\)[^\n]*$'
    )
    with pytest.raises(SystemExit, match=says):
        run_experiment(write_config(workplace, CONFIG), 'model.backbone.pretrained=weights.pth')


def test_crops_of_less_than_two_patches_under_a_pyramid(workplace):
    crops = [
        f'data.train.{part}.{key}=20,20'
        for part, key in (
            *(('source.pipeline.3', 'crop_size'), ('source.pipeline.6', 'size')),
            *(('target.pipeline.2', 'crop_size'), ('target.pipeline.5', 'size')),
        )
    ]
    config = write_config(workplace, CONFIG + "model['neck'] = dict(type='BilinearPyramid')\n")
    one_patch = ['model.backbone.patch_size=28', 'model.backbone.img_size=56']
    says = r'^Error: [^\n]*BilinearPyramid cannot resize a level of 1×1 by 0\.5: enlarge [^\n]*$'
    with pytest.raises(SystemExit, match=says):
        run_experiment(config, *crops, *one_patch)
