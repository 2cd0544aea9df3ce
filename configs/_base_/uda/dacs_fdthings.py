# DACS with the ImageNet feature distance on thing classes (paper, Section 3.3). Things are what
# ImageNet shows: traffic light, traffic sign, person, rider and the vehicles. A position belongs to
# a class if that class has at least 75 % of its cell.
_base_ = ['dacs_fd.py']
uda = dict(
    imnet_feature_dist_classes=[6, 7, 11, 12, 13, 14, 15, 16, 17, 18],
    imnet_feature_dist_scale_min_ratio=0.75,
)
