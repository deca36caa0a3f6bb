# nightbench itself: the migrations, the Prefect server and the worker run from this one image, so that the versions of
# server and worker cannot differ. Built by the compose files; the context is the repository.
ARG PYTHON=python:3.11.13-slim-bookworm
ARG CLI=docker:28.3.3-cli
FROM ${CLI} AS cli

FROM ${PYTHON}
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONNOUSERSITE=1
# Servers' images are built by `docker build`; BuildKit is the client's own plugin.
COPY --from=cli /usr/local/bin/docker /usr/local/bin/docker
COPY --from=cli /usr/local/libexec/docker /usr/local/libexec/docker
# Where packages come from is the environment's affair: a pip configuration is there while they are installed, and in no
# layer. uv takes minutes where pip takes a quarter of an hour, but has to be told what pip reads by itself.
COPY requirements.lock /opt/nightbench/
RUN --mount=type=secret,id=pip,target=/run/secrets/pip \
    python -m venv /opt/venv && PIP_CONFIG_FILE=/run/secrets/pip \
    pip install --quiet --disable-pip-version-check --no-cache-dir "$(grep '^uv==' /opt/nightbench/requirements.lock)"
RUN --mount=type=secret,id=pip,target=/run/secrets/pip --mount=type=cache,target=/var/cache/uv \
    said() { PIP_CONFIG_FILE=/run/secrets/pip pip config list | sed -n "s/^global\.$1='\(.*\)'\$/\1/p" | sed 's/\\n/ /g'; } && \
    default=$(said index-url) && more=$(said extra-index-url) && links=$(said find-links) && \
    if [ -n "$default" ]; then export UV_DEFAULT_INDEX="$default"; fi && \
    if [ -n "$more" ]; then export UV_INDEX="$more" UV_INDEX_STRATEGY=unsafe-best-match; fi && \
    if [ -n "$links" ]; then export UV_FIND_LINKS="$links"; fi && \
    # The image's own authorities, which a site may have added to; uv brings others along.
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_LINK_MODE=copy UV_CACHE_DIR=/var/cache/uv \
    uv pip install --quiet --python /opt/venv/bin/python --requirement /opt/nightbench/requirements.lock
COPY . /opt/nightbench/
RUN --mount=type=secret,id=pip,target=/run/secrets/pip \
    PIP_CONFIG_FILE=/run/secrets/pip pip install --disable-pip-version-check --no-cache-dir --quiet \
        --no-deps --editable /opt/nightbench && \
    python -m compileall -q /opt/nightbench && \
    # `docker compose exec worker nightbench ...` does not pass through the entry by itself.
    mkdir /opt/bin && \
    printf '#!/bin/sh\nexec python -m launch.stack.enter /opt/venv/bin/nightbench "$@"\n' > /opt/bin/nightbench && \
    chmod 755 /opt/bin/nightbench && \
    useradd --uid 10001 nightbench && install -d -m 1777 /home/nightbench
ENV PATH=/opt/bin:$PATH HOME=/home/nightbench
WORKDIR /home/nightbench
USER nightbench
ENTRYPOINT ["/opt/venv/bin/python", "-m", "launch.stack.enter"]
CMD ["nightbench", "--help"]
