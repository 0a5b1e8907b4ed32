# The operator's image and the runtime's, for amd64 and arm64: see docs/images.md.
#
# All that is installed is pinned by hash in requirements/. Both run as user 10001 on a read-only
# root filesystem; beside what is mounted they write to /tmp, the runtime also to its home.

# Any image with Python 3.11, its venv module and libstdc++, for the runtime also Python's headers
# and apt. Pin it by digest in what you publish.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Empty, or a folder of packages given by `--build-context wheelhouse=...` to build without network.
FROM scratch AS wheelhouse

# --- tools of the build, which no image holds, and our own package --------------------------------
FROM ${BASE_IMAGE} AS build
# 1: take packages from the wheelhouse alone.
ARG PIP_NO_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_FIND_LINKS=/wheelhouse \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INDEX=${PIP_NO_INDEX} \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/image.lock requirements/
# The secret is a pip.conf with an index of your own; without one pip goes by its defaults.
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /build \
    && /build/bin/pip install --no-compile --require-hashes --no-deps -r requirements/image.lock
COPY . .
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

# --- operator -------------------------------------------------------------------------------------
FROM build AS operator-build
# Without bytecode, which is a third of the packages' size and saves two seconds of a start.
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    tools/images/install operator.lock --no-compile

FROM ${BASE_IMAGE} AS operator
RUN echo 'superinfer:x:10001:' >> /etc/group \
    && echo 'superinfer:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=operator-build /opt/superinfer /opt/superinfer
COPY --from=operator-build /sbom.cdx.json /usr/share/sbom/superinfer-operator.cdx.json
ENV PATH=/opt/superinfer/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="SuperInfer operator" \
      org.opencontainers.image.description="Keeps LLM services on Kubernetes within their objectives" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /tmp
USER 10001:10001
EXPOSE 4317 4318 8080 8081
ENTRYPOINT ["superinfer-operator", "run"]

# --- runtime --------------------------------------------------------------------------------------
FROM build AS runtime-build
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    tools/images/install gpu.lock

FROM ${BASE_IMAGE} AS runtime
# Triton and PyTorch compile kernels' launchers when a model is loaded. Debian drops a package's
# former versions, so that only the base's digest pins this one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && echo 'superinfer:x:10001:' >> /etc/group \
    && echo 'superinfer:x:10001:10001::/home/superinfer:/usr/sbin/nologin' >> /etc/passwd \
    && install --directory --owner 10001 --group 10001 /home/superinfer
COPY --from=runtime-build /opt/superinfer /opt/superinfer
COPY --from=runtime-build /sbom.cdx.json /usr/share/sbom/superinfer-runtime.cdx.json
# CUDA comes with the packages, the driver from the node.
ENV PATH=/opt/superinfer/bin:$PATH \
    HOME=/home/superinfer \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VLLM_NO_USAGE_STATS=1
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="SuperInfer runtime" \
      org.opencontainers.image.description="Stock vLLM with rotary scheduling and full-duplex KV rotation" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /home/superinfer
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["superinfer", "serve"]
