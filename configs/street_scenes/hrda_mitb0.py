# HRDA on StreetScenes: uda_mitb0.py with the crop of 128x128 at half its size as the context, and a
# detail crop of 64x64. Start it from the same weights (see there), or from those of
# hrda_source_only_mitb0.py, whose attention is trained, too.
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
