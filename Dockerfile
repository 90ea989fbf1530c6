# BASE=python:3.11-slim-bookworm@$(docker buildx imagetools inspect python:3.11-slim-bookworm --format '{{.Manifest.Digest}}')
# docker build --build-arg BASE=$BASE --target cpu -t attune .          (the default target)
# docker build --build-arg BASE=$BASE --target gpu -t attune:gpu .      (run with --gpus all)
#
# BASE is a base image by its digest: a tag may be another image tomorrow, and what was tested stays what is shipped.
# It has no default, because a digest written down here would keep that day's Debian and its holes: look one up, test
# it, and keep it beside your deployment.
#
# docker run -p 8000:8000 -v attune:/data attune attune keys create my-app     prints a key, once
# docker run -p 8000:8000 -v attune:/data attune
#
# The container listens on 0.0.0.0, and Attune refuses to start on such an address without an API key: create one first.

ARG BASE
FROM ${BASE} AS base
# make and a compiler: torch.compile and Triton build kernels at run time. libnuma: vLLM on a CPU links against it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 attune \
    && install --directory --owner attune /app /data
USER attune
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    ATTUNE_HOST=0.0.0.0 \
    ATTUNE_PORT=8000 \
    ATTUNE_DATA_DIR=/data \
    HF_HOME=/data/hf \
    ATTUNE_MODELS_DIR=/data/models
VOLUME /data
EXPOSE 8000
# Loading a large model can take long; /health answers meanwhile, /ready only once it is loaded.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['ATTUNE_PORT'] + '/health', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["attune", "serve"]

# The requirements come before the source, so that a change in the source does not install them again.
FROM base AS gpu
COPY --chown=attune Makefile pyproject.toml LICENSE ./
COPY --chown=attune requirements requirements
RUN make setup VARIANT=gpu
COPY --chown=attune . .
# The build knows the commit, the image has no git: --build-arg ATTUNE_COMMIT=$(git rev-parse HEAD)
ARG ATTUNE_COMMIT=unknown
ENV ATTUNE_COMMIT=$ATTUNE_COMMIT

FROM base AS cpu
# torch's own index of CPU builds; it is asked for torch alone, and what it gives has to have the hash of
# requirements/torch-cpu.txt. Without it, the larger CUDA build is taken from the default index.
ARG TORCH_INDEX
COPY --chown=attune Makefile pyproject.toml LICENSE ./
COPY --chown=attune requirements requirements
RUN make setup VARIANT=cpu TORCH_INDEX=$TORCH_INDEX
COPY --chown=attune . .
ARG ATTUNE_COMMIT=unknown
ENV ATTUNE_COMMIT=$ATTUNE_COMMIT
