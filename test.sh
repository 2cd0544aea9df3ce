#!/bin/sh
# Test a run: sh test.sh DIR [options of tools/test.py]
# DIR is the run's folder in work_dirs/. Coloured predictions go to DIR/preds; those of another network
# or way of testing beside it, such as DIR/preds_teacher.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: sh test.sh DIR [options of tools/test.py]" >&2
    exit 2
fi
dir=${1%/}
shift
root=$(dirname "$0")

if [ ! -d "$dir" ]; then
    echo "Error: $dir is not a folder. Give the run's folder in work_dirs/." >&2
    exit 1
fi
preds=$dir/preds
before=
for option in "$@"; do
    case $before in
        --test-scale | --inference-mode) preds=${preds}_$option ;;
    esac
    before=$option
    case $option in
        --on | --data | --data=*)
            echo "Error: test.sh tests on the run's target. For other data sets: python tools/test.py $dir/latest.pth $option ..." >&2
            exit 1
            ;;
        --test-scale=* | --inference-mode=*) preds=${preds}_${option#*=} ;;
        --aug-test | --test-set) preds=${preds}_${option#--} ;;
        teacher | --weights=teacher) preds=${preds}_teacher ;;
    esac
done

# The environment that the Makefile makes, unless another python is asked for.
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ -x "$root/.venv/bin/python" ] && PYTHON=$root/.venv/bin/python
fi
exec "$PYTHON" "$root/tools/test.py" "$dir" "$dir/latest.pth" --show-dir "$preds" "$@"
