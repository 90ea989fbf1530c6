# docker build --target cpu -t attune .          (the default target)
# docker build --target gpu -t attune:gpu .      (run with --gpus all)
#
# docker run -p 8000:8000 -v attune:/data attune attune keys create my-app     prints a key, once
# docker run -p 8000:8000 -v attune:/data attune
#
# The container listens on 0.0.0.0, and Attune refuses to start on such an address without an API key: create one first.

FROM python:3.11-slim-bookworm AS base
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
    HF_HOME=/data/hf
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
# An index that has torch's CPU build, where the default one has only the larger CUDA build.
ARG PIP_EXTRA_INDEX_URL
COPY --chown=attune Makefile pyproject.toml LICENSE ./
COPY --chown=attune requirements requirements
RUN make setup VARIANT=cpu
COPY --chown=attune . .
ARG ATTUNE_COMMIT=unknown
ENV ATTUNE_COMMIT=$ATTUNE_COMMIT
