# syntax=docker/dockerfile:1
#
#   docker build -t mayfly .
#   docker run --read-only --cap-drop ALL -p 8080:8080 -p 8081:8081 -v mayfly-data:/data \
#     -v "$PWD/config.yaml:/etc/fulcio-config/config.yaml:ro" mayfly
#
# Needs nothing writable but the volume /data, which has to belong to 65532:65532: no tmpfs, no /tmp.
#
# The bases are tags, because a digest has to be looked up where there is a registry. Pin them when you build:
#   docker buildx imagetools inspect node:24-bookworm-slim | grep Digest
#   docker build --build-arg BUILD_IMAGE=node:24-bookworm-slim@sha256:… --build-arg RUNTIME_IMAGE=…@sha256:… .
# Both are Debian 12, because native modules are built in one and run in the other.
ARG BUILD_IMAGE=node:24-bookworm-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# For pkcs11js alone, which has no compiled form; nothing of this reaches the image, so the versions are Debian's.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ make python3 && rm -rf /var/lib/apt/lists/*
COPY package.json package-lock.json ./
# No package runs an install script but this one; the headers of Node are in the image.
RUN npm ci --ignore-scripts && npm_config_nodedir=/usr/local npm rebuild pkcs11js \
  && rm -rf node_modules/pkcs11js/build/Release/obj.target
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
# true: with the SDKs of AWS, Google and Azure, 50 MB, for --ca kmsca and --ctlog-storage. Vault and HSMs need none.
ARG WITH_CLOUD_SDKS=false
COPY packaging ./packaging
RUN node packaging/runtime-manifest.mjs "$([ "$WITH_CLOUD_SDKS" = true ] && echo --with-cloud-sdks)" \
  && npm prune --ignore-scripts && node packaging/sbom.mjs && sh packaging/slim.sh . && mkdir /data

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mayfly" \
  org.opencontainers.image.description="A private Sigstore certificate authority with its transparency log" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY packaging/healthcheck.mjs ./
COPY config ./config
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
VOLUME /data
EXPOSE 8080 8081 2112
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/nodejs/bin/node", "/app/healthcheck.mjs"]
# The young generation of Node 24 grows up to 100 MB otherwise, and issues no faster for it (docs/performance.md).
ENTRYPOINT ["/nodejs/bin/node", "--max-semi-space-size=8", "/app/dist/main.js"]
CMD ["serve", "--data-dir", "/data"]
