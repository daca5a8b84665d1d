// Takes out of the package.json in the working directory what an image does not run: the development dependencies,
// quickstart's identity provider and, unless told to keep them, the SDKs of AWS, Google and Azure. The next `npm prune`
// removes what they brought.
// Usage: node packaging/runtime-manifest.mjs [--with-cloud-sdks]
import { readFileSync, writeFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
delete manifest.devDependencies;
delete manifest.optionalDependencies['oidc-provider'];
if (!process.argv.includes('--with-cloud-sdks')) {
  for (const name of Object.keys(manifest.optionalDependencies)) {
    if (/^@(aws-sdk|azure|google-cloud)\//.test(name)) delete manifest.optionalDependencies[name];
  }
}
writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
