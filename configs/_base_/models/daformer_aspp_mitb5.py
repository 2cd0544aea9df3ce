# DAFormer whose ASPP has full instead of depthwise-separable convolutions (paper, Table 7).
_base_ = ['daformer_sepaspp_mitb5.py']
model = dict(decode_head=dict(decoder_params=dict(fusion_cfg=dict(sep=False))))
