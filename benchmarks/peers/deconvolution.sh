#!/bin/sh
# The environment of the peers of benchmarks/deconvolution.py, which want pandas < 3 and
# numpy < 2.4 (uv on PATH, or as scripts/bootstrap.sh leaves it):
#
#     sh benchmarks/peers/deconvolution.sh /tmp/peers
#     make bench BENCH_ARGS=deconv NONNEG_PEERS=/tmp/peers/bin/python
#
# PYTHON names the interpreter, 3.11 or 3.12. rctd-py needs torch: with several GB of
# CUDA as it comes from PyPI; TORCH='torch==2.13.0+cpu' takes a wheel for CPUs where one
# is to be had (UV_FIND_LINKS names the folder).
set -eu
folder=${1:?name the folder of the environment}
uv=$(command -v uv || echo "$(dirname "$0")/../../.bootstrap/bin/uv")
"$uv" venv --quiet --python "${PYTHON:-3.12}" "$folder"
"$uv" pip install --quiet --python "$folder/bin/python" \
    "${TORCH:-torch}" 'pandas<3' 'numpy<2.4' \
    'flashdeconv==0.2.*' 'tacco==0.5.*' 'rctd-py==0.4.*'
