# UPerNet with DAFormer's 256 channels on a MiT-B5 encoder (paper, Table 7).
_base_ = ['upernet_mit.py']
model = dict(decode_head=dict(channels=256))
