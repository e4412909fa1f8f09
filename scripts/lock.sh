cd /work/main
NOEMIT=$(for p in torch triton cuda-bindings cuda-toolkit cuda-pathfinder nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cuda-cccl nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx setuptools; do echo --no-emit-package $p; done)
.venv/bin/uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 $NOEMIT --no-header --no-annotate -q -o requirements.lock
.venv/bin/uv pip compile pyproject.toml --extra dev --generate-hashes --universal --python-version 3.11 $NOEMIT --no-header --no-annotate -q -o requirements-dev.lock -c requirements.lock
