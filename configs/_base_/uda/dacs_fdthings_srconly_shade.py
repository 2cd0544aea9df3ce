# SHADE: training on the source alone, in hallucinated styles, too, with the feature distance on
# thing classes.
# The encoder, mit_b0 to mit_b5, hallucinates them, which a config says beside this:
#   model = dict(backbone=dict(style_hallucination_cfg=dict(
#       concentration_coeff=0.0156, base_style_num=64)))
_base_ = ['dacs_fdthings_srconly.py']
uda = dict(style_consistency_lambda=10.0, share_src_backward=True)
style_hallucination_hook = dict(interval=4000, samples_per_gpu=2, workers_per_gpu=6)
