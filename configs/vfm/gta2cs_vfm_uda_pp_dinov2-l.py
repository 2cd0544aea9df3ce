# VFM-UDA++ with DINOv2-L, GTA to Cityscapes: 79.8 mIoU with ViT-Adapter (its README; not measured
# here). The adapter is not implemented; the network here is its nearest counterpart, of which
# nothing is published. All else is as in VFM-UDA (the first base).
# Memory, estimated: 24.9 GB, a card of 48 GB; with model.backbone.with_cp=True 12.9, 16 GB.
_base_ = [
    '../_base_/vfm_uda.py',
    '../_base_/models/vfm_pyramid_vitb14.py',
    '../_base_/datasets/uda_gta_to_cityscapes_vfm_1024x1024.py',
]
model = dict(
    pretrained='timm://vit_large_patch14_dinov2.lvd142m',
    backbone=dict(model_name='vit_large_patch14_dinov2'),
)
uda = dict(
    # Stronger augmentation of source images; those of target and mixed images stay.
    augmentations=dict(
        source=dict(
            jitter=(0.8, 0.8, 0.8, 0.4),
            jitter_probability=0.8,
            grey_probability=0.1,
            blur_probability=0.5,
            blur_sigma=(0.15, 3.0),
        )
    ),
    # Blocks of 64 of the 1120 pixels that the encoder sees: 58.5 of the 1024 of a crop.
    mask_generator=dict(_delete_=True, type='block', mask_ratio=0.7, mask_block_size=58.5),
    # The student's coarsest map, through a small head, stays near that of a frozen DINOv2-L with
    # registers, on source and on target images.
    feature_distance=dict(
        teacher=dict(
            type='TimmViT',
            model_name='vit_large_patch14_reg4_dinov2',
            pretrained='timm://vit_large_patch14_reg4_dinov2.lvd142m',
            out_indices=[23],
            inside_scale=406 / 1024,  # 29 patches
        ),
        weight=0.1,
    ),
)
optimizer = dict(
    # 1e-5 * sqrt(8 images); published with 5e-5 for size B and for other data.
    lr=2.8284271247461906e-05,
    paramwise_cfg=dict(layer_decay=0.9),
)

name = 'gta2cs_vfm_uda_pp_dinov2-l_s0'
name_architecture = 'vfm_pyramid-f2p_dinov2-l'
name_encoder = 'dinov2-l'
name_decoder = 'vfm_pyramid-f2p'
name_uda = 'vfm_uda_pp_rcs0.05-2.0-t20_cplr_m58.5-0.7-spta'
name_opt = 'adamw_2.83e-05_vfm_uda_1x8_40k'
