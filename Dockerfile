# An image for the CPU, or with --build-arg EXTRAS=demo,app,gpu for NVIDIA GPUs: docs/platforms.md.
FROM python:3.12.12-slim-bookworm AS build
ARG EXTRAS=demo,app
WORKDIR /source
COPY LICENSE pyproject.toml setup.cfg ./
COPY docs/package.md docs/
COPY neural_style_tf neural_style_tf
RUN python -m venv /opt/neural-style-tf \
    && /opt/neural-style-tf/bin/pip install --no-cache-dir ".[${EXTRAS}]"

FROM python:3.12.12-slim-bookworm
COPY --from=build /opt/neural-style-tf /opt/neural-style-tf
ENV PATH=/opt/neural-style-tf/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Whoever runs it (docker run -u) has no home here. The caches lie beside weights and output. CUDA's driver keeps
# in its own what it compiles for GPUs that are newer than TensorFlow's release; in /tmp it would be lost.
ENV HOME=/tmp \
    XDG_CACHE_HOME=/data/.cache \
    CUDA_CACHE_PATH=/data/.nv
# Whoever runs it may write here; a new named volume takes over the mode. As in /tmp, nobody may replace what
# is another's.
RUN install --directory --mode=1777 /data
USER 1000
# Not declared as volumes: `weights`, `output`, `.cache` and `.nv` are made here, in the folder that is mounted, and an
# anonymous volume would hide them.
WORKDIR /data
# Of the page, with --entrypoint=neural-style-tf-app.
EXPOSE 7860
ENTRYPOINT ["neural-style-tf"]
