#!/bin/sh
# Takes the SDKs of AWS, Google and Azure out of a package.json; the next `npm prune` removes what they brought.
# Usage: packaging/without-cloud-sdks.sh DIRECTORY
set -eu

cd "${1:?usage: packaging/without-cloud-sdks.sh DIRECTORY}"
node -e '
  const fs = require("node:fs");
  const manifest = JSON.parse(fs.readFileSync("package.json", "utf8"));
  for (const name of Object.keys(manifest.optionalDependencies)) {
    if (/^@(aws-sdk|azure|google-cloud)\//.test(name)) delete manifest.optionalDependencies[name];
  }
  fs.writeFileSync("package.json", `${JSON.stringify(manifest, null, 2)}\n`);
'
