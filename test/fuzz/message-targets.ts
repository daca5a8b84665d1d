import { Metadata } from '@grpc/grpc-js';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { readRequest } from '../../src/grpc/ca-service.js';
import { createSigningCertificateRequest } from '../../src/grpc/definitions.js';
import { parseJsonBody } from '../../src/http/json-body.js';
import { readV1, readV2 } from '../../src/http/signing-cert.js';
import { compileTemplate, type Template } from '../../src/identity/template.js';
import { TemplateError } from '../../src/identity/template-lex.js';
import { configTexts, everyIssuerConfig } from './corpus.js';
import { hostileText } from './hostile.js';
import { goodCsrs, hostileCsr, hostileSpki, reencodePem } from './key-targets.js';
import { jsonText, mutateBytes, mutateJson, mutateText } from './mutate.js';
import type { Random } from './random.js';
import { bytesOf, mayFail, must, type Target, textOf } from './target.js';
import { brokenToken, hostileToken } from './token-targets.js';

const someToken = (random: Random): string => (random.chance(0.6) ? hostileToken(random) : brokenToken(random));

/** The fields of a signing request, hostile in part. */
function requestParts(random: Random) {
  const token = someToken(random);
  const content = reencodePem(random, 'PUBLIC KEY', hostileSpki(random));
  const proof = random.bytes(random.below(140));
  // With a good key the claims are what decides.
  const csr = Buffer.from(random.chance(0.7) ? random.pick(goodCsrs) : hostileCsr(random));
  return { token, content, proof, csr, withCsr: random.chance(0.6) };
}

/** A v2 body and the token in it. */
export function hostileV2(random: Random): { body: string; token: string } {
  const { token, content, proof, csr, withCsr } = requestParts(random);
  const key = withCsr
    ? { certificateSigningRequest: csr.toString('base64') }
    : { publicKeyRequest: { publicKey: { algorithm: 'ECDSA', content }, proofOfPossession: proof.toString('base64') } };
  const body = { credentials: { oidcIdentityToken: token }, ...key };
  return { token, body: random.chance(0.5) ? JSON.stringify(body) : jsonText(random, mutateJson(random, body)) };
}

/** A v1 body and the token that goes into the Authorization header. */
export function hostileV1(random: Random): { body: string; token: string } {
  const { token, content, proof, csr, withCsr } = requestParts(random);
  const body = withCsr
    ? { certificateSigningRequest: csr.toString('base64') }
    : {
        publicKey: { algorithm: 'ecdsa', content: Buffer.from(content).toString('base64') },
        signedEmailAddress: proof.toString('base64'),
      };
  return { token, body: random.chance(0.5) ? JSON.stringify(body) : jsonText(random, mutateJson(random, body)) };
}

/** The bytes of a gRPC message, now and then not even protobuf. */
export function hostileMessage(random: Random): Buffer {
  const { token, content, proof, csr, withCsr } = requestParts(random);
  const key = withCsr
    ? { certificate_signing_request: csr }
    : { public_key_request: { public_key: { algorithm: random.below(5), content }, proof_of_possession: proof } };
  const bytes = createSigningCertificateRequest.serialize({ credentials: { oidc_identity_token: token }, ...key });
  return random.chance(0.5) ? Buffer.from(bytes) : mutateBytes(random, bytes);
}

const templates = [
  '{{ .url }}/{{ .repository }}@{{ .ref }}',
  'repository',
  '{{if eq .runner "shared"}}hosted{{else if ne .runner ""}}own{{else}}none{{end}}',
  '{{ index . "a.b/c" }}{{- /* comment */ -}}',
  '{{ if and .a (or .b (not .c)) }}{{ .owner.name }}{{ end }}',
  '{{if eq (index . "x") "true"}}ssh{{ else }}""{{end}}',
];

const jsonConfig = everyIssuerConfig('/keys.json');

/** Undefined where the operator would be told what is wrong; the message may quote a file of the operator's at length. */
function compiled(source: string): Template | undefined {
  try {
    return compileTemplate(source);
  } catch (error) {
    if (error instanceof TemplateError) return undefined;
    throw error;
  }
}

/** Targets around messages, templates and configuration files. */
export const messageTargets: Record<'template' | 'config' | 'body' | 'message', Target> = {
  template: {
    weight: 7,
    make: (random) => mutateText(random, random.pick(templates)).slice(0, 20_000),
    async run(input) {
      const template = compiled(textOf(input));
      if (template === undefined) return false;
      const lookups = [() => 'value', () => undefined, () => null, (path: readonly string[]) => path.join('"')];
      for (const lookup of lookups) {
        const text = await mayFail(() => template.render(lookup), '');
        must(text === undefined || typeof text === 'string', 'a template rendered to no text');
      }
      return true;
    },
  },
  config: {
    weight: 0.4,
    make: (random) => {
      if (random.chance(0.3)) return jsonText(random, mutateJson(random, JSON.parse(jsonConfig)));
      const text = random.pick(configTexts);
      const lines = text.split('\n');
      const at = random.below(lines.length);
      if (random.chance(0.3)) return lines.filter((_line, i) => i !== at).join('\n');
      if (random.chance(0.3))
        return [...lines.slice(0, at), `  ${hostileText(random)}: x`, ...lines.slice(at)].join('\n');
      return mutateText(random, text);
    },
    async run(input) {
      return (await mayFail(() => parseIdentityConfig(textOf(input), 'identity.yaml'), '')) !== undefined;
    },
  },
  body: {
    weight: 7,
    make: (random) => (random.chance(0.5) ? hostileV1(random) : hostileV2(random)).body,
    async run(input) {
      const bytes = bytesOf(input);
      const v2 = await mayFail(() => readV2(parseJsonBody(bytes), undefined), '');
      const v1 = await mayFail(() => readV1(parseJsonBody(bytes), bytes.toString('latin1').slice(0, 50)), '');
      return v1 !== undefined || v2 !== undefined;
    },
  },
  message: {
    weight: 4,
    make: hostileMessage,
    async run(input) {
      return (await mayFail(() => readRequest(bytesOf(input), new Metadata()), '')) !== undefined;
    },
  },
};
