# Evaluation on the 50 validation images of Dark Zurich, whole images: 1920x1080. All but its place
# is as for ACDC.
_base_ = 'eval_acdc.py'
target_val = dict(type='DarkZurichDataset', data_root='data/dark_zurich/')
data = dict(val=target_val, test=target_val)
