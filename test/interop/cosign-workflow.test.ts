import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startCa } from './ca-server.js';
import { signBlob, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { startOidcIssuer } from './oidc-issuer.js';
import { makeCa } from './openssl-ca.js';
import { ownTrustFiles } from './trust-files.js';
import { workflowIdentity, workflowIssuerConfig, workflowRun } from './workflow.js';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab.close());

test('cosign signs as a workflow and verifies what its certificate says of the run', async () => {
  const issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts: [workflowRun] }));
  const files = await makeCa(lab.dir, 'P-384', 'with intermediate');
  const ca = lab.keep(await startCa({ dir: lab.dir, config: workflowIssuerConfig(issuer.url), log: true, files }));
  const trust = ownTrustFiles(ca.trustDir);
  const file = join(lab.dir, 'blob');
  await writeFile(file, 'a file to sign\n');

  const bundle = await signBlob(lab.dir, trust, await issuer.idToken(workflowRun.sub), file);

  const expected = { identity: workflowIdentity, issuerUrl: issuer.url, timestamped: false, logged: true };
  const verify = (...args: string[]) => verifyBlob(lab.dir, trust.trustedRoot, bundle, file, expected, args);
  expect(
    await verify(
      ...['--certificate-github-workflow-trigger', 'workflow_dispatch'],
      ...['--certificate-github-workflow-sha', workflowRun.sha ?? ''],
      ...['--certificate-github-workflow-name', workflowRun.workflow ?? ''],
      ...['--certificate-github-workflow-repository', 'octo-org/octo-repo'],
      ...['--certificate-github-workflow-ref', 'refs/heads/main'],
    ),
  ).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
  expect((await verify('--certificate-github-workflow-repository', 'octo-org/another')).code).not.toBe(0);
});
