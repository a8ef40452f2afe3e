# An image for the CPU, or with --build-arg EXTRAS=demo,gpu for NVIDIA GPUs: docs/platforms.md.
FROM python:3.12.12-slim-bookworm AS build
ARG EXTRAS=demo
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
# Whoever runs it (docker run -u) has no home here.
ENV HOME=/tmp
RUN install --directory --owner=1000 /data
USER 1000
# Not declared as volumes: `weights` and `output` are made here, in the folder that is mounted, and an anonymous
# volume would hide them.
WORKDIR /data
ENTRYPOINT ["neural-style-tf"]
