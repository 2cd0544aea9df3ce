"""Stand-in for setuptools' pkg_resources, on PYTHONPATH only while pip builds mmcv-full.

The setup.py of mmcv-full imports pkg_resources, which setuptools 82 removed, and reads from
``locals()`` what ``exec`` defined, which Python 3.13 ended (PEP 667). The import comes first, so
this module provides what it needs of both.
"""

import builtins
import sys
from importlib.metadata import PackageNotFoundError as DistributionNotFound  # noqa: F401
from importlib.metadata import distribution as get_distribution  # noqa: F401

_exec = builtins.exec


def _exec_in_caller(code, variables=None, local_variables=None, /, **options):
    """``exec`` that defines names for the caller's ``locals()``, as before Python 3.13."""
    if variables is None:
        caller = sys._getframe(1)
        variables, local_variables = caller.f_globals, caller.f_locals
    _exec(code, variables, local_variables, **options)


builtins.exec = _exec_in_caller
# Nothing in DAFormer uses mmcv's operators: where torch is installed they would be compiled.
sys.modules['torch'] = None
parse_version = None  # compares versions of torch
