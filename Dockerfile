# syntax=docker/dockerfile:1
# Two stages: the build needs the development dependencies, the image does not.
FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json tsconfig.json tsconfig.build.json ./
RUN npm ci --ignore-scripts
# The only package that has to be compiled; the headers of this Node are in the image.
RUN apt-get update && apt-get install -y --no-install-recommends python3 make g++ \
  && npm_config_nodedir=/usr/local npm rebuild pkcs11js && rm -rf node_modules/pkcs11js/build/Release/obj.target
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY config ./config
RUN install -d -o node -g node -m 0755 /data
USER node
VOLUME /data
EXPOSE 8080 8081 2112
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/healthz').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve", "--data-dir", "/data"]
