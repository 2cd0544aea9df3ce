# DAFormer without context (paper, Table 7): the levels are fused by a 1x1 convolution, which makes
# it SegFormer's decoder with 256 channels.
_base_ = ['daformer_sepaspp_mitb5.py']
model = dict(
    decode_head=dict(
        decoder_params=dict(
            fusion_cfg=dict(
                _delete_=True,
                type='conv',
                kernel_size=1,
                act_cfg=dict(type='ReLU'),
                norm_cfg=dict(type='BN', requires_grad=True),
            )
        )
    )
)
