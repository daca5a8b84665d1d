// Writes the software bill of materials, CycloneDX JSON, of what is installed for production to dist/sbom.cdx.json, which
// the npm package and the image carry.
// Usage: node packaging/sbom.mjs    (npm run sbom)
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'));
const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--omit', 'dev'];
const sbom = JSON.parse(execFileSync('npm', args, { encoding: 'utf8', maxBuffer: 64 << 20 }));
// npm calls the package after its directory.
Object.assign(sbom.metadata.component, { name, version });
// Some packages name their repository as git does, git@host:path, which is no URL, so CycloneDX's schema refuses it; or
// as npm does, owner/name on GitHub.
for (const { externalReferences = [] } of sbom.components) {
  for (const reference of externalReferences) {
    reference.url = reference.url
      .replace(/^(?:[a-z+]+:\/\/)?([^/@:]+@[^/:]+):(?!\d)/, 'ssh://$1/')
      .replace(/^(?=[\w-]+\/[\w.-]+$)/, 'https://github.com/');
  }
}
mkdirSync('dist', { recursive: true });
writeFileSync('dist/sbom.cdx.json', `${JSON.stringify(sbom, null, 2)}\n`);
