# syntax=docker/dockerfile:1
# The image that builds run in on ECS: the build agent, and what the repositories' own code needs.
# A container of it is there for one build, and needs no privileges but root's usual ones; see docs/aws.md.
#   docker build --file deploy/builder.Dockerfile --tag autostack-builder .

# The Nodes that a project can ask for. Others: `--build-arg NODE_24=…`.
ARG NODE_22=22.23.3
ARG NODE_24=24.21.0
ARG NODE_26=26.10.0

FROM node:${NODE_22}-bookworm-slim AS node22
FROM node:${NODE_24}-bookworm-slim AS node24
FROM node:${NODE_26}-bookworm-slim AS node26

FROM debian:12.12-slim

# python3 is the agent's; with make and g++ it also compiles packages that come without a binary for this system.
# Without versions: Debian keeps the newest ones only, so that a pinned one is gone on the day of its security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get upgrade --yes \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ git make python3 python3-venv unzip xz-utils \
    && rm -rf /var/lib/apt/lists/*

# The agent finds every /opt/node*/bin/node, and takes the one on PATH where nobody asks for another.
COPY --from=node22 /usr/local/bin/node /opt/node22/bin/node
COPY --from=node22 /usr/local/lib/node_modules/npm /opt/node22/lib/node_modules/npm
COPY --from=node24 /usr/local/bin/node /opt/node24/bin/node
COPY --from=node24 /usr/local/lib/node_modules/npm /opt/node24/lib/node_modules/npm
COPY --from=node26 /usr/local/bin/node /opt/node26/bin/node
COPY --from=node26 /usr/local/lib/node_modules/npm /opt/node26/lib/node_modules/npm
RUN for node in /opt/node*; do \
        ln -s ../lib/node_modules/npm/bin/npm-cli.js "$node/bin/npm" \
        && ln -s ../lib/node_modules/npm/bin/npx-cli.js "$node/bin/npx" || exit 1; \
    done
ENV PATH=/opt/node24/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Where the agent looks before it installs one. Other versions are installed for the build that asks for them.
RUN npm install --prefix /opt/autostack/tools/pnpm-10 --ignore-scripts --no-audit --no-fund pnpm@10.34.9 \
    && npm install --prefix /opt/autostack/tools/yarn-1 --ignore-scripts --no-audit --no-fund yarn@1.22.22 \
    && npm install --prefix /opt/autostack/tools/bun-1 --no-audit --no-fund bun@1.4.5 \
    && rm -rf /root/.npm

COPY deploy/builder-requirements.txt /opt/autostack/
RUN python3 -m venv /opt/autostack/venv \
    && /opt/autostack/venv/bin/pip install --no-cache-dir --require-hashes -r /opt/autostack/builder-requirements.txt
COPY autostack/__init__.py autostack/public_addresses.py /opt/autostack/venv/lib/python3.11/site-packages/autostack/
COPY autostack/agent/ /opt/autostack/venv/lib/python3.11/site-packages/autostack/agent/
# Once, not in every task: it takes a third of the agent's start.
RUN /opt/autostack/venv/bin/python -m compileall -q /opt/autostack/venv/lib/python3.11/site-packages/autostack

# Who the repositories' code runs as: a user without a right, and without a place to write but the build's own folders.
RUN groupadd --gid 64000 build \
    && useradd --uid 64000 --gid 64000 --home-dir /home/build --no-create-home --shell /bin/sh build \
    && chmod 0755 /var/tmp /run/lock \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && mkdir --parents /etc/autostack \
    && touch /etc/autostack/container-of-one-build

# The agent is root, so that it can have what it runs be somebody else. AGENT_API_URL, AUTOSTACK_ATTEMPT and
# AUTOSTACK_BOOTSTRAP_TOKEN come from the environment, and none of them goes on to a build.
ENTRYPOINT ["/opt/autostack/venv/bin/python", "-I", "-m", "autostack.agent", "--work-dir", "/var/lib/autostack/build", "--tools-dir", "/opt/autostack/tools"]
