"""How several processes of one run are started on this machine: with torch's launcher."""

import os
import sys

# Seconds that a stopped run has for its iteration, or an evaluation, and for its resume state.
# torchrun's own 30 are too few, and what they do not suffice for is lost. Where a process fails it
# ends the others after 30 seconds in any case. (Older torchruns do not know the variable below.)
STOP_SECONDS = 600


def torchrun(count):
    """Returns the beginning of a command that runs a script in `count` processes."""
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={count}']
    return [sys.executable, *launcher]


def torchrun_environment():
    """Returns the variables of torchrun's process; what the user has set stays."""
    return {'TORCH_ELASTIC_SHUTDOWN_TIMEOUT': str(STOP_SECONDS), **os.environ}
