#!/bin/sh
# Takes out of an installed tree what a server never loads: declarations, source maps, test files of packages, and native
# modules of other platforms. The Dockerfile runs it before it copies the tree into the image.
# Usage: packaging/slim.sh DIRECTORY    with DIRECTORY/node_modules and DIRECTORY/dist; glibc only
set -eu

cd "${1:?usage: packaging/slim.sh DIRECTORY}"
platform=$(node -p 'process.platform + "-" + process.arch')

find node_modules dist -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \
  -o -name '*.md' -o -name '*.markdown' \) -delete
find node_modules -type d \( -name test -o -name tests \) -path '*/node_modules/*/test*' -prune -exec rm -rf {} +
find node_modules -type d -path '*/prebuilds/*' -prune ! -name "$platform" -exec rm -rf {} +
# Node-API works in every version of Node; the other builds of lmdb are for one version each, or for musl.
find node_modules/@lmdb -type f \( -name '*.musl.node' -o -name 'node.abi*.node' \) -delete
# Bundlers read these; Node reads build/src.
rm -rf node_modules/@opentelemetry/*/build/esm node_modules/@opentelemetry/*/build/esnext
# TypeScript sources beside what was compiled from them.
rm -rf node_modules/zod/src
