"""``--deterministic``: the same command gives the same tensors on a GPU, too.

On the CPU it changes nothing: there a run is a function of its config anyway, as everything random
is drawn from (seed, place) and the operations used here sum in a fixed order.

On a GPU many operations add up in the order in which threads happen to finish. In this mode torch
takes their deterministic form (convolutions, gathering; bilinear upsampling through its own slower
decomposition) and raises an error that names the operation where there is none: for the networks
here that is the backward pass of UPerNet's adaptive pooling. torch lists NLLLoss, too; its sum is
what has no order, and MMSegmentation's cross entropy takes the loss of each pixel
(``reduction='none'``). This is read from torch's documentation and code and not measured: no GPU
was at hand.
"""

import os

import torch


def set_determinism(cfg):
    """Set torch up as ``cfg.deterministic`` and ``cfg.cudnn_benchmark`` say (both default off).

    To be called before anything runs on a GPU: cuBLAS reads its variable when it starts.

    Args:
        cfg (mmcv.Config): Of the run.
    """
    deterministic = bool(cfg.get('deterministic'))
    # A benchmark chooses kernels by their time, which is another one in every run.
    torch.backends.cudnn.benchmark = bool(cfg.get('cudnn_benchmark')) and not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        # The workspace that NVIDIA names as deterministic; another choice of the user's stays.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    # The call alone imports torch's compiler, which takes a second.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        # Not warn_only: with it, the fused attention's backward pass keeps its random order.
        torch.use_deterministic_algorithms(deterministic)
