# DAFormer's network with the loss and the test windows of VFM-UDA.
_base_ = ['daformer_sepaspp_mitb5.py']
model = dict(
    decode_head=dict(
        in_channels='from_encoder', loss_decode=dict(_delete_=True, type='VFMCrossEntropyLoss')
    ),
    test_cfg=dict(mode='slide', stride=[512, 512], crop_size=[1024, 1024]),
)
