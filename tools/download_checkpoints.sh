#!/bin/sh
# Download ImageNet weights to pretrained/: sh tools/download_checkpoints.sh [mit_b0 ... mit_b5]
# Without a name it fetches mit_b5, which the paper uses. Options: those of tools/download.py.
set -eu
tools=$(dirname "$0")

# The environment that the Makefile makes, unless another python is asked for.
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x "$tools/../.venv/bin/python" ] && PYTHON=$tools/../.venv/bin/python
fi
exec "$PYTHON" "$tools/download.py" "$@"
