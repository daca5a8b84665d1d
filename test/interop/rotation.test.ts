import { X509Certificate } from 'node:crypto';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bundle } from '@sigstore/bundle';
import { FulcioSigner, MessageSignatureBundleBuilder, TSAWitness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { newKey, post, v2Body, v2Chain } from '../support/client.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir } from './command.js';
import { createTrustFiles, signBlob, type TrustFiles, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { startTimestampAuthority, type TimestampAuthority } from './timestamp-authority.js';
import { readTrustedRoot, withServicesOf } from './trust-files.js';

const jane = 'jane@example.com';
const data = Buffer.from('a file to sign\n');
const clients = 4;
const noticedWithinMs = 15_000;

let lab: Lab;
let ca: CaServer;
let issuer: OidcIssuer;
let tsa: TimestampAuthority;
let load: ReturnType<typeof startLoad> | undefined;
/** What cosign makes of the timestamp authority, to be put beside what Mayfly says of itself. */
let services: TrustFiles;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  tsa = lab.keep(await startTimestampAuthority(lab.dir));
  ca = lab.keep(await startCa({ dir: lab.dir, config: emailIssuerConfig(issuer.url), log: true }));
  const caChainPath = join(ca.trustDir, 'ca.pem');
  services = await createTrustFiles(lab.dir, { ca, caChainPath, tsa, issuerUrl: issuer.url });
});
afterAll(async () => {
  await load?.stop();
  await lab.close();
});

/** Runs `mayfly ca …` on the data directory of the running server. */
async function mayflyCa(...args: readonly string[]): Promise<void> {
  const command = [resolve(projectDir, 'dist/main.js'), 'ca', ...args, '--data-dir', join(lab.dir, 'data')];
  await mustRun(process.execPath, command, { cwd: lab.dir });
}

/** Clients that ask for certificates without a pause; every answer but a right certificate is a failure. */
function startLoad(token: string) {
  const failures: string[] = [];
  const issued = new Map<string, number>();
  let stopped = false;
  const client = async (): Promise<void> => {
    const body = v2Body(token, jane, newKey());
    while (!stopped) {
      try {
        const answer = await post(`${ca.url}/api/v2/signingCert`, body);
        const [leaf, issuing] = answer.status === 200 ? v2Chain(answer) : [];
        if (leaf === undefined || issuing === undefined || !leaf.verify(issuing.publicKey)) {
          failures.push(`${answer.status} ${answer.text}`);
        } else issued.set(issuing.subject, (issued.get(issuing.subject) ?? 0) + 1);
      } catch (error) {
        failures.push(String(error));
      }
    }
  };
  const running = Promise.all(Array.from({ length: clients }, client));
  return {
    failures,
    /** Certificates by the subject of the CA that issued them. */
    issued,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

/** The trust files as the server gives them out at this moment, in a directory of their own. */
async function fetchTrust(step: string): Promise<TrustFiles> {
  const dir = join(lab.dir, `trust-${step}`);
  await mkdir(dir);
  const own = { trustedRoot: join(dir, 'trusted_root.json'), signingConfig: join(dir, 'signing_config.json') };
  for (const [path, name] of [
    [own.trustedRoot, 'trusted_root.json'],
    [own.signingConfig, 'signing_config.json'],
  ] as const) {
    await writeFile(path, await (await fetch(`${ca.url}/trust/${name}`)).text());
  }
  return withServicesOf(dir, own, services);
}

/** What was signed in one step, by both clients. */
interface Signed {
  readonly step: string;
  readonly file: string;
  readonly cosignBundle: string;
  readonly jsBundle: Bundle;
}

async function signWithBoth(step: string, trust: TrustFiles): Promise<Signed> {
  const file = join(lab.dir, `blob-${step}`);
  await writeFile(file, data);
  const cosignBundle = await signBlob(lab.dir, trust, await issuer.idToken('account-4711'), file);
  const token = await issuer.idToken('account-4711');
  const signer = new FulcioSigner({ fulcioBaseURL: ca.url, identityProvider: { getToken: async () => token } });
  const witnesses = [new TSAWitness({ tsaBaseURL: tsa.url })];
  const jsBundle = await new MessageSignatureBundleBuilder({ signer, witnesses }).create({ data });
  return { step, file, cosignBundle, jsBundle };
}

/** "" when both clients take what was signed, with this trusted root; else what they said. */
async function complaints(trust: TrustFiles, signed: Signed): Promise<string> {
  const expected = { identity: jane, issuerUrl: issuer.url, timestamped: true, logged: true };
  const cosign = await verifyBlob(lab.dir, trust.trustedRoot, signed.cosignBundle, signed.file, expected);
  const verifier = new Verifier(toTrustMaterial(await readTrustedRoot(trust.trustedRoot)), {
    ctlogThreshold: 1,
    tlogThreshold: 0,
    timestampThreshold: 1,
  });
  let js = '';
  try {
    verifier.verify(toSignedEntity(signed.jsBundle, data), {
      subjectAlternativeName: '^jane@example\\.com$',
      extensions: { issuer: issuer.url },
    });
  } catch (error) {
    js = `sigstore-js: ${error}`;
  }
  return `${cosign.code === 0 ? '' : `cosign: ${cosign.stderr}`}${js}`;
}

/** The issuing CA certificates of the trust bundle, in its order. */
async function bundledCas(): Promise<string[]> {
  const body = (await (await fetch(`${ca.url}/api/v2/trustBundle`)).json()) as { chains: { certificates: string[] }[] };
  return body.chains.map(({ certificates: [pem = ''] }) => new X509Certificate(pem).subject);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + noticedWithinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`the server noticed nothing\n${ca.printed()}`);
    await sleep(50);
  }
}

const isGone = (path: string): Promise<boolean> =>
  access(path).then(
    () => false,
    () => true,
  );

test('under load a CA is published, promoted, its predecessor retired and deleted: every signature verifies at every step with the trust of that step and of the one before, and no request fails', async () => {
  load = startLoad(await issuer.idToken('account-4711'));
  const [first = ''] = await bundledCas();
  const keyOfFirst = join(lab.dir, 'data/keys/ca/key.pem');
  const nameOfFirst = new X509Certificate(await (await fetch(`${ca.url}/trust/ca.pem`)).text()).fingerprint256
    .replaceAll(':', '')
    .slice(0, 8);
  const steps: readonly (readonly [step: string, act: () => Promise<void>])[] = [
    ['start', async () => undefined],
    [
      'publish',
      async () => {
        await mayflyCa('add', '--name', 'second');
        await until(async () => (await bundledCas()).length === 2);
        expect((await bundledCas())[0]).toBe(first);
      },
    ],
    [
      'promote',
      async () => {
        await mayflyCa('promote', 'second');
        await until(async () => (await bundledCas())[0] !== first);
      },
    ],
    [
      'retire',
      async () => {
        await mayflyCa('retire', nameOfFirst);
        await until(async () => (await bundledCas()).length === 1);
      },
    ],
    [
      'delete',
      async () => {
        await mayflyCa('delete', nameOfFirst);
        await until(() => isGone(keyOfFirst));
      },
    ],
  ];

  const signed: Signed[] = [];
  let before: TrustFiles | undefined;
  for (const [step, act] of steps) {
    await act();
    const now = await fetchTrust(step);
    signed.push(await signWithBoth(step, now));
    for (const [when, trust] of [
      ['the same step', now],
      ['the step before', before ?? now],
    ] as const) {
      for (const one of signed) {
        const said = await complaints(trust, one);
        expect(`${step}: signed at ${one.step}, trust of ${when}: ${said}`).toBe(
          `${step}: signed at ${one.step}, trust of ${when}: `,
        );
      }
    }
    before = now;
  }
  await load.stop();

  expect(load.failures).toEqual([]);
  expect([...load.issued.keys()]).toEqual([first, ...(await bundledCas())]);
  const [byFirst = 0, bySecond = 0] = load.issued.values();
  expect(Math.min(byFirst, bySecond)).toBeGreaterThan(clients);
  const jsIssuer = (one: Signed | undefined): string => {
    const content = one?.jsBundle.verificationMaterial.content;
    const chain = content?.$case === 'x509CertificateChain' ? content.x509CertificateChain.certificates : [];
    return new X509Certificate(chain[0]?.rawBytes ?? '').issuer;
  };
  expect([jsIssuer(signed[0]), jsIssuer(signed.at(-1))]).toEqual([...load.issued.keys()]);
});
