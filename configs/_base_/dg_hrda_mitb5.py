# Domain generalisation with HRDA, on any sources: as dg_daformer_mitb5.py, at full resolution.
_base_ = ['dg_daformer_mitb5.py']
model = dict(
    type='HRDAEncoderDecoder',
    scales=[1, 0.5],
    # Smaller than for adaptation (512): styles double the batch, which was to fit into 24 GB.
    hr_crop_size=(384, 384),
    crop_coord_divisible=8,
    # The feature distance, and the styles, are of the context.
    feature_scale=0.5,
    decode_head=dict(type='HRDAHead', single_scale_head='DAFormerHead', hr_loss_weight=0.1),
    test_cfg=dict(mode='slide', batched_slide=True, stride=[512, 512], crop_size=[1024, 1024]),
)
name_architecture = 'hrda1-384-0.1_daformer_sepaspp_sl_mitb5'
name_decoder = 'hrda1-384-0.1_daformer_sepaspp_sl'
