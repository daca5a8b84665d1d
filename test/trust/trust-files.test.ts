import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ClientTrustConfig, SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import { keyDetailsOf } from '../../src/trust/key-details.js';
import { operatorOf, type TrustMaterial } from '../../src/trust/material.js';
import { clientTrustConfigJson, signingConfigJson } from '../../src/trust/signing-config.js';
import { trustedRootJson } from '../../src/trust/trusted-root.js';
import { trustFileNames, writeTrustFiles } from '../../src/trust/write.js';
import { createLab } from '../cli/request-lab.js';

const [lab, former] = [createLab(), createLab()];
const operator = 'ca.example';
const year = (value: number, end?: number) => ({
  start: new Date(Date.UTC(value, 0)),
  ...(end === undefined ? {} : { end: new Date(Date.UTC(end, 0)) }),
});
const current = { chain: [lab.issuing, lab.root], uri: 'https://ca.example', validFor: year(2026), operator };
const material: TrustMaterial = {
  cas: [current, { ...current, chain: [former.issuing, former.root], validFor: year(2024, 2026) }],
  ctLogs: [{ baseUrl: 'https://ca.example/ctlog', publicKey: lab.logSpki, validFor: year(2026), operator }],
  oidcProviders: [{ url: 'https://login.example', validFor: year(2026), operator: 'login.example' }],
};
const full: TrustMaterial = {
  ...material,
  tsas: [{ ...current, uri: 'https://tsa.example/api/v1/timestamp', operator: 'tsa.example' }],
  rekors: [
    { baseUrl: 'https://rekor.example', publicKey: former.logSpki, validFor: year(2025), operator, majorApiVersion: 1 },
    {
      baseUrl: 'https://rekor2.example',
      publicKey: former.logSpki,
      validFor: year(2026),
      operator,
      majorApiVersion: 2,
    },
  ],
};

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

describe('trustedRootJson', () => {
  test('names every CA, oldest first, with its chain from the issuing CA to the root', () => {
    const authority = (ca: typeof lab, validFor: object) => ({
      subject: { organization: 'lab', commonName: 'lab root' },
      uri: 'https://ca.example',
      certChain: { certificates: [{ rawBytes: base64(ca.issuing) }, { rawBytes: base64(ca.root) }] },
      validFor,
    });
    expect(trustedRootJson(material)).toEqual({
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      tlogs: [],
      certificateAuthorities: [
        authority(former, { start: '2024-01-01T00:00:00.000Z', end: '2026-01-01T00:00:00.000Z' }),
        authority(lab, { start: '2026-01-01T00:00:00.000Z' }),
      ],
      ctlogs: [
        {
          baseUrl: 'https://ca.example/ctlog',
          hashAlgorithm: 'SHA2_256',
          publicKey: {
            rawBytes: base64(lab.logSpki),
            keyDetails: 'PKIX_ECDSA_P256_SHA_256',
            validFor: { start: '2026-01-01T00:00:00.000Z' },
          },
          logId: { keyId: createHash('sha256').update(lab.logSpki).digest('base64') },
        },
      ],
    });
  });

  test('comes back unchanged from protobuf-specs', () => {
    expect(TrustedRoot.toJSON(TrustedRoot.fromJSON(trustedRootJson(full)))).toEqual(trustedRootJson(full));
    const parsed = TrustedRoot.fromJSON(trustedRootJson(full));
    expect(parsed.timestampAuthorities.map(({ uri }) => uri)).toEqual(['https://tsa.example/api/v1/timestamp']);
    expect(parsed.tlogs.map(({ baseUrl }) => baseUrl)).toEqual(['https://rekor.example', 'https://rekor2.example']);
  });

  test.each([
    ['an empty chain', { ...material, cas: [{ ...current, chain: [] }] }, 'has no chain'],
    [
      'a root that is no certificate',
      { ...material, cas: [{ ...current, chain: [Uint8Array.of(1)] }] },
      'not DER X.509',
    ],
    [
      'a log key that is none',
      { ...material, ctLogs: [{ ...current, baseUrl: '', publicKey: Uint8Array.of(1) }] },
      'not a DER SubjectPublicKeyInfo',
    ],
  ])('refuses %s', (_what, input, message) => {
    expect(() => trustedRootJson(input)).toThrow(message);
  });
});

describe('keyDetailsOf', () => {
  const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).publicKey;
  test.each([
    ['P-256', ec('P-256'), 'PKIX_ECDSA_P256_SHA_256'],
    ['P-384', ec('P-384'), 'PKIX_ECDSA_P384_SHA_384'],
    ['P-521', ec('P-521'), 'PKIX_ECDSA_P521_SHA_512'],
    ['Ed25519', generateKeyPairSync('ed25519').publicKey, 'PKIX_ED25519'],
    ['RSA 2048', generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey, 'PKIX_RSA_PKCS1V15_2048_SHA256'],
  ])('names a %s key', (_name, key, expected) => {
    const publicKey = key.export({ type: 'spki', format: 'der' });
    const log = { baseUrl: 'https://log.example', publicKey, validFor: year(2026), operator };
    expect(trustedRootJson({ cas: [], ctLogs: [log] })).toMatchObject({
      ctlogs: [{ publicKey: { keyDetails: expected } }],
    });
  });

  test('refuses a key that no verifier has a name for', () => {
    const key = ec('secp256k1').export({ type: 'spki', format: 'der' });
    expect(() => keyDetailsOf(key)).toThrow('"ec secp256k1" has no name in a trusted root; expected ec prime256v1,');
  });
});

describe('signingConfigJson', () => {
  test('names the CA in use with API version 1, and the providers', () => {
    expect(signingConfigJson(material)).toEqual({
      mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
      caUrls: [
        { url: 'https://ca.example', majorApiVersion: 1, validFor: { start: '2026-01-01T00:00:00.000Z' }, operator },
      ],
      oidcUrls: [
        {
          url: 'https://login.example',
          majorApiVersion: 1,
          validFor: { start: '2026-01-01T00:00:00.000Z' },
          operator: 'login.example',
        },
      ],
      rekorTlogConfig: { selector: 'ANY' },
      tsaConfig: { selector: 'ANY' },
    });
  });

  test('lists Rekors newest first and lets the client take any', () => {
    expect(signingConfigJson(full)).toMatchObject({
      rekorTlogUrls: [
        { url: 'https://rekor2.example', majorApiVersion: 2 },
        { url: 'https://rekor.example', majorApiVersion: 1 },
      ],
      rekorTlogConfig: { selector: 'ANY' },
      tsaUrls: [{ url: 'https://tsa.example/api/v1/timestamp' }],
      tsaConfig: { selector: 'ANY' },
    });
    expect(SigningConfig.toJSON(SigningConfig.fromJSON(signingConfigJson(full)))).toEqual(signingConfigJson(full));
  });
});

test('clientTrustConfigJson holds both', () => {
  const config = ClientTrustConfig.fromJSON(clientTrustConfigJson(full));
  expect(config.mediaType).toBe('application/vnd.dev.sigstore.clienttrustconfig.v0.1+json');
  expect(clientTrustConfigJson(full)).toMatchObject({
    trustedRoot: trustedRootJson(full),
    signingConfig: signingConfigJson(full),
  });
});

test.each([
  ['https://ca.example:8443/x', 'ca.example'],
  ['http://127.0.0.1:8080', '127.0.0.1'],
])('operatorOf(%s) is the host', (url, host) => {
  expect(operatorOf(url)).toBe(host);
});

describe('writeTrustFiles', () => {
  let directory: string;

  beforeEach(async () => {
    directory = join(await mkdtemp(join(tmpdir(), 'mayfly-trust-')), 'trust');
  });

  afterEach(() => rm(join(directory, '..'), { recursive: true }));

  const read = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');

  test('writes the files of an instance for everybody to read, and nothing else', async () => {
    const changed = await writeTrustFiles(directory, material);
    const names = Object.values(trustFileNames)
      .filter((name) => name !== 'tsa.pem')
      .sort();
    expect([...changed].sort()).toEqual(names);
    expect((await readdir(directory)).sort()).toEqual(names);
    for (const name of names) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o644);
    expect(JSON.parse(await read('trusted_root.json'))).toEqual(trustedRootJson(material));
    expect(await read('ctlog.pub.pem')).toMatch(/^-----BEGIN PUBLIC KEY-----\n/);
  });

  test('ca.pem holds the chain of the CA in use, the issuing CA first', async () => {
    await writeTrustFiles(directory, material);
    const pems = (await read('ca.pem')).split(/(?<=-----END CERTIFICATE-----\n)/);
    expect(pems.map((pem) => base64(new X509Certificate(pem).raw))).toEqual([lab.issuing, lab.root].map(base64));
  });

  test('leaves a file alone that would not change', async () => {
    await writeTrustFiles(directory, material);
    const before = await stat(join(directory, 'trusted_root.json'));
    expect(await writeTrustFiles(directory, material)).toEqual([]);
    expect((await stat(join(directory, 'trusted_root.json'))).ino).toBe(before.ino);
  });

  test('replaces what changed and what a crash left half written', async () => {
    await writeTrustFiles(directory, material);
    await writeFile(join(directory, 'trusted_root.json'), '{"mediaT');
    await writeFile(join(directory, 'trusted_root.json.tmp'), 'stray');
    expect(await writeTrustFiles(directory, material)).toEqual(['trusted_root.json']);
    expect(await readdir(directory)).not.toContain('trusted_root.json.tmp');
  });

  test('has a log key while there is a log', async () => {
    await writeTrustFiles(directory, full);
    expect(await readdir(directory)).toContain('ctlog.pub.pem');
    await writeTrustFiles(directory, { ...material, ctLogs: [] });
    expect((await readdir(directory)).sort()).toEqual([
      'ca.pem',
      'client-trust-config.json',
      'client_trust_config.json',
      'signing_config.json',
      'trusted_root.json',
    ]);
  });

  test('names the file it cannot write', async () => {
    await writeFile(directory, 'a file where the directory belongs');
    await chmod(directory, 0o600);
    await expect(writeTrustFiles(directory, material)).rejects.toThrow(
      `the trust file ${join(directory, 'trusted_root.json')}`,
    );
  });
});
