"""HRDA on plain ViTs: their maps have another stride than MiT's, and take whole patches."""

import pytest
import torch
import torch.nn.functional as F
from mmcv import ConfigDict

from mmseg.models.builder import SEGMENTORS, build_segmentor
from mmseg.models.training_pass import TrainingPass
from mmseg.utils.user_error import UserError
from tests.golden.fill import fill
from tests.test_dacs import THINGS
from tests.test_hrda import hrda_model
from tests.test_timm_encoders import train_twice

WIDTH = 48
VIT = dict(type='TimmViT', embed_dim=WIDTH, num_heads=3, depth=4)
DINOV2 = dict(VIT, model_name='vit_small_patch14_dinov2', img_size=56)
DINOV3 = dict(VIT, model_name='vit_small_patch16_dinov3')
FOUR = dict(in_channels=[WIDTH] * 4, in_index=[0, 1, 2, 3])
DAFORMER = dict(
    FOUR, single_scale_head='DAFormerHead', channels=16, attention_embed_dim=8,
    decoder_params=dict(
        embed_dims=16, embed_cfg=dict(type='mlp'), embed_neck_cfg=dict(type='mlp'),
        fusion_cfg=dict(type='conv', kernel_size=1),
    ),
)  # fmt: skip
LAST_LEVEL = dict(single_scale_head='VFMHead', in_channels=WIDTH)
PYRAMID = dict(FOUR, single_scale_head='VFMPyramidHead', norm_cfg=dict(type='BN'))
UP = dict(type='BilinearPyramid')
NETWORKS = {  # encoder, neck, head, the stride of the logits
    'dinov3_daformer': (DINOV3, None, DAFORMER, 16),
    'dinov2_daformer': (DINOV2, None, DAFORMER, 14),
    'dinov3_pyramid_daformer': (DINOV3, UP, DAFORMER, 4),
    'dinov2_vfm': (DINOV2, None, LAST_LEVEL, 3.5),
    'dinov3_pyramid_vfm': (DINOV3, dict(type='Feature2Pyramid', embed_dim=WIDTH), PYRAMID, 4),
}


def model(name, head=None, **options):
    """The config of a network on crops of four patches, which details are two of."""
    backbone, neck, decode_head, _ = NETWORKS[name]
    side = 2 * (14 if backbone is DINOV2 else 16)
    cfg = hrda_model(**{'hr_crop_size': (side, side), 'crop_coord_divisible': None, **options})
    if neck is not None:
        cfg.neck = ConfigDict(neck)
        cfg.neck.update({'norm_cfg': dict(type='BN')} if neck is not UP else {})
    cfg.backbone = ConfigDict({**backbone, **options.get('backbone', {})})
    cfg.decode_head = ConfigDict(
        type='HRDAHead', num_classes=19, align_corners=False, hr_loss_weight=0.1, **decode_head
    )
    cfg.decode_head.update(head or {})
    return cfg


def build(name, **options):
    return fill(build_segmentor(model(name, **options))).eval()


def places_inside(box, size, stride):
    """Where the centres of a map's places, in pixels of the detail's scale, lie in a box."""
    rows, columns = ((torch.arange(side) + 0.5) * stride for side in size)
    in_rows, in_columns = (rows > box[0]) & (rows < box[1]), (columns > box[2]) & (columns < box[3])
    return in_rows[:, None] & in_columns


@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_the_detail_is_pasted_where_it_was_cut_out(name):
    network = build(name, head=dict(fixed_attention=1.0))
    side, stride = network.hr_crop_size[0], NETWORKS[name][3]
    img = torch.randn(2, 3, 2 * side, 3 * side)
    box = side, 2 * side, side, 2 * side
    network.draw_box = lambda *_: box
    fused = TrainingPass(network)(img, None).logits
    assert fused.shape[2:] == (2 * side / stride, 3 * side / stride)

    def resized(maps, size):
        return F.interpolate(maps, size, mode='bilinear')

    one_scale = network.decode_head.head
    context = one_scale(network.extract_feat(resized(img, (side, 3 * side // 2))))
    detail = torch.zeros_like(fused)
    inside = places_inside(box, fused.shape[2:], stride)
    alone = one_scale(network.extract_feat(img[..., box[0] : box[1], box[2] : box[3]]))
    detail[..., inside] = alone.flatten(2)
    trust = places_inside(box, context.shape[2:], 2 * stride)[None, None].float()
    expected = resized(trust, fused.shape[2:]) * detail
    expected += resized((1 - trust) * context, fused.shape[2:])
    torch.testing.assert_close(fused, expected)


@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_any_image_whole_or_in_windows(name):
    network = build(name)
    img, meta = torch.randn(1, 3, 70, 101), [dict(ori_shape=(70, 101, 3), img_shape=(70, 101, 3))]
    meta[0]['flip'] = False
    logits = network.encode_decode(img, meta)
    assert logits.shape == (1, 19, 70, 101)
    network.test_cfg = ConfigDict(mode='whole')
    torch.testing.assert_close(network.inference(img, meta, True), logits.softmax(1))
    crop = 2 * network.hr_crop_size[0]
    sliding = dict(mode='slide', crop_size=(crop, crop), stride=(crop // 2, crop // 2))
    found = []
    for batched in (True, False):
        network.test_cfg = ConfigDict(sliding, batched_slide=batched)
        found.append(network.inference(img, meta, True))
    torch.testing.assert_close(*found)
    first = network.encode_decode(img[..., :crop, :crop], meta).softmax(1)
    rows, columns = 70 - crop, crop // 2  # what no other window covers
    assert rows > 0
    torch.testing.assert_close(found[0][..., :rows, :columns], first[..., :rows, :columns])


@pytest.mark.parametrize('name', ['dinov3_daformer', 'dinov3_pyramid_vfm'])
def test_masked_consistency_and_feature_distance(name):
    torch.manual_seed(0)
    dacs = SEGMENTORS.build(
        dict(
            type='DACS', model=model(name), imnet_feature_dist_lambda=0.005,
            imnet_feature_dist_classes=THINGS, imnet_feature_dist_scale_min_ratio=0.01,
            mask_mode='separatetrgaug', mask_lambda=1, debug_img_interval=0,
            mask_generator=dict(type='block', mask_ratio=0.5, mask_block_size=16),
        )
    )  # fmt: skip
    dacs.init_weights()
    log, changed = train_twice(dacs.train())
    assert log['src.loss_imnet_feat_dist'] > 0 and 'masked.decode.hr.loss_ce' in log
    assert changed == {name for name, _ in dacs.model.named_parameters()}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(backbone=dict(inside_scale=1.1)), r'HRDA needs model\.backbone\.inside_scale=None'),
        (dict(hr_crop_size=(24, 32)), 'multiples of 32 are needed'),
        (dict(crop_coord_divisible=8), 'no multiple of the stride of the head, 16'),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        build('dinov3_daformer', **options)


def test_training_images_of_another_size_name_the_sizes():
    with pytest.raises(UserError, match=r'72×64.*multiples of 32'):
        TrainingPass(build('dinov3_daformer'))(torch.zeros(1, 3, 72, 64), None)
