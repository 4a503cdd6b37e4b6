#!/bin/sh
# Resolve what the images install, with the hashes of the files. Needs uv and an index; run it in the repository's root
# after dependencies changed. limbeck itself is no part of a lock: it is installed beside it, without dependencies, and
# the CPU image's build then asks pip whether anything of limbeck's own requirements is missing.
set -eu

lock() {
    out=$1
    shift
    uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-python-downloads \
        --custom-compile-command "sh docker/lock.sh" --output-file "$out" "$@"
}

lock docker/build-requirements.txt --python-version 3.11 docker/build-requirements.in
# the same file for amd64 and arm64: both resolve to the same versions, and hashes of all platforms are in it
lock docker/cpu/requirements.txt --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
    --extra server --extra text --extra otel pyproject.toml
# onnxruntime-gpu takes onnxruntime's place in CUDA's image, and what the device builds takes it in Jetson's
lock docker/cuda/requirements.txt --python-version 3.12 --python-platform x86_64-manylinux_2_39 \
    --extra server --extra text --extra otel --extra tensorrt-rtx --no-emit-package onnxruntime \
    pyproject.toml docker/cuda/requirements.in
lock docker/jetson/onnxruntime-build-requirements.txt --python-version 3.11 \
    --python-platform aarch64-manylinux_2_35 docker/jetson/onnxruntime-build-requirements.in
lock docker/jetson/requirements.txt --python-version 3.11 --python-platform aarch64-manylinux_2_35 \
    --extra server --extra text --extra otel --no-emit-package onnxruntime pyproject.toml
