# One image for every process: `fettle web`, `fettle worker`, `fettle engine`, `fettle migrate`.
# TORCH_INDEX names a package index for torch, for example one with CPU builds; empty means pip's usual one (CUDA on Linux).

FROM python:3.12-slim AS build
ARG TORCH_INDEX=""
WORKDIR /fettle
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
RUN --mount=type=cache,target=/root/.cache/pip pip install torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY requirements.lock .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY migrations migrations
COPY samples samples
COPY static static
COPY templates templates
RUN pip install --no-deps --no-build-isolation --editable . && python -m compileall -q app worker

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data fettle && install --directory --owner=fettle --mode=0700 /data
COPY --from=build /venv /venv
COPY --from=build /fettle /fettle
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 FETTLE_DATA=/data HF_HOME=/data/huggingface XDG_RUNTIME_DIR=/tmp
WORKDIR /fettle
USER fettle
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["fettle"]
CMD ["up"]
