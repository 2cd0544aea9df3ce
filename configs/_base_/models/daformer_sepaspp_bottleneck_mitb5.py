# DAFormer with context at the deepest level only (paper, Table 7): the last feature map is brought
# to stride 4 and goes through the ASPP; the fusion of all levels is a 1x1 convolution.
_base_ = ['daformer_conv1_mitb5.py']
model = dict(
    neck=dict(type='SegFormerAdapter', scales=[8]),
    decode_head=dict(
        decoder_params=dict(
            embed_neck_cfg=dict(
                _delete_=True,
                type='rawconv_and_aspp',
                kernel_size=1,
                sep=True,
                dilations=(1, 6, 12, 18),
                pool=False,
                act_cfg=dict(type='ReLU'),
                norm_cfg=dict(type='BN', requires_grad=True),
            )
        )
    ),
)
