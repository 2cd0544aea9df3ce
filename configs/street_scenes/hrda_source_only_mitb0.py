# The lower bound of HRDA on StreetScenes, and the weights that hrda_mitb0.py and mic_hrda_mitb0.py
# start from: source_only_mitb0.py with HRDA's network.
_base_ = ['source_only_mitb0.py']
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
name = 'street_scenes_source-only_hrda_mitb0'
name_architecture = 'hrda1-64-0.1_daformer_sepaspp_mitb0'
name_decoder = 'hrda1-64-0.1_daformer_sepaspp'
