# DINOv3's ConvNeXt-B with DAFormer's decoder in the setting of VFM-UDA. Nothing of it is published.
# Memory, estimated: 11.2 GB, a card of 16 GB; with model.backbone.with_cp=True 6.2, 12 GB.
_base_ = [
    '../_base_/vfm_uda.py',
    '../_base_/models/daformer_vfm_convnextb.py',
    '../_base_/datasets/uda_gta_to_cityscapes_vfm_1024x1024.py',
]
# There are no tokens to mask: blocks, those of VFM-UDA++.
uda = dict(mask_generator=dict(_delete_=True, type='block', mask_ratio=0.7, mask_block_size=58.5))
name = 'gta2cs_vfm_uda_dinov3-convnext-b_s0'
name_architecture = 'daformer_vfm_dinov3-convnext-b'
name_encoder = 'dinov3-convnext-b'
name_decoder = 'daformer_vfm'
name_uda = 'vfm_uda_rcs0.05-2.0-t20_cplr_m58.5-0.7-spta'
