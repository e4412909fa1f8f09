#!/bin/sh
# Chooses versions anew and writes both lock files. torch, what comes only with it, and the build tools stand outside: their
# builds differ by machine (CPU, CUDA), so `scripts/bootstrap.py` pins torch alone and pip brings the rest.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || .venv/bin/pip install --quiet uv

compile() { # output options...
    output=$1
    shift
    "$uv" pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate --quiet "$@" --output-file "$output"
}

box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
compile "$box/all" --extra dev
outside=$(sed -n 's/^\(torch\|triton\|setuptools\|cuda-[a-z0-9-]*\|nvidia-[a-z0-9-]*\)==.*/--no-emit-package \1/p' "$box/all" | grep -v 'nvidia-ml-py$')
# shellcheck disable=SC2086 # words on purpose
compile requirements.lock --generate-hashes $outside
# shellcheck disable=SC2086
compile requirements-dev.lock --generate-hashes --extra dev --constraint requirements.lock $outside
