# DACS with the ImageNet feature distance at all positions (paper, Section 3.3, without the mask).
_base_ = ['dacs.py']
uda = dict(imnet_feature_dist_lambda=0.005)
