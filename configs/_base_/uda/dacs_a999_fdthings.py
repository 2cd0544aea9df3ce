# DACS with the feature distance on thing classes and a slower teacher (paper, Table 5).
_base_ = ['dacs_fdthings.py']
uda = dict(alpha=0.999)
