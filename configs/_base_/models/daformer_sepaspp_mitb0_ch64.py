# DAFormer made small for a CPU: a MiT-B0 encoder from scratch and 64 instead of 256 channels. No
# drop path: a few hundred iterations are too short to overfit.
_base_ = ['daformer_sepaspp_mitb5.py']
model = dict(
    pretrained=None,
    backbone=dict(type='mit_b0', drop_path_rate=0.0),
    decode_head=dict(
        in_channels=[32, 64, 160, 256], channels=64, decoder_params=dict(embed_dims=64)
    ),
)
