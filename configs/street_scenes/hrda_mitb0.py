# HRDA on StreetScenes: uda_mitb0.py with a context of half the crop's size and details of half its
# area's sides, 64x64 of 128x128: about the least that the encoder takes. Train
# hrda_source_only_mitb0.py first and start from its weights, with --load-from.
_base_ = ['uda_mitb0.py']
model = dict(
    type='HRDAEncoderDecoder',
    scales=[1, 0.5],
    hr_crop_size=(64, 64),
    crop_coord_divisible=8,
    feature_scale=0.5,
    decode_head=dict(
        type='HRDAHead', single_scale_head='DAFormerHead', hr_loss_weight=0.1,
        attention_embed_dim=64,
    ),
)  # fmt: skip
name = 'street_scenes_dacs_rcs001_cpl_hrda_mitb0'
name_architecture = 'hrda1-64-0.1_daformer_sepaspp_mitb0'
name_decoder = 'hrda1-64-0.1_daformer_sepaspp'
