# DeepLabV2 with the two smaller of its four dilations: the network of most earlier work on UDA,
# whose code returns after the second branch (kept for comparison: paper, Table 1).
_base_ = ['deeplabv2_r50-d8.py']
model = dict(decode_head=dict(dilations=(6, 12)))
