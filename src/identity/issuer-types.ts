import type { IssuerConfig, IssuerTypeName } from '../config/identity-types.js';
import { AppError } from '../errors.js';
import type { ExtensionValues } from '../x509/extensions.js';
import type { San } from '../x509/san.js';
import { applyProvider } from './ci-provider.js';
import { claim, claimAt, requiredText } from './claims.js';
import { isEmailAddress } from './email-address.js';
import type { Issuer } from './issuer.js';
import { type LegacyTypeName, legacyProviders } from './legacy-providers.js';
import type { Principal } from './principal.js';
import { describe, quote } from './quote.js';
import { checkSpiffeId } from './spiffe-id.js';
import type { VerifiedToken } from './token.js';
import { parseUri } from './uri.js';

interface Identity {
  readonly san: San;
  readonly extensions?: ExtensionValues;
  /** Takes the place of `iss` in both issuer extensions. */
  readonly issuer?: string;
  /** The claim the client must have signed, where it is not the type's own. */
  readonly challengeClaim?: 'email' | 'sub';
}

interface IssuerType {
  /** The claim the client must have signed; what /api/v2/configuration tells unless challenge-claim overrides it. */
  readonly challengeClaim: 'email' | 'sub';
  readonly identify: (token: VerifiedToken, config: IssuerConfig) => Identity;
}

const uriSan = (text: string, what: string): San => ({ kind: 'uri', value: parseUri(text, what).text });

const legacy = (name: LegacyTypeName): IssuerType => ({
  challengeClaim: 'sub',
  identify: ({ claims }) => {
    const provider = legacyProviders[name];
    for (const required of provider.required) requiredText(claims, [required]);
    const { san, extensions } = applyProvider(provider, claims);
    return { san: uriSan(san, 'the identity'), extensions };
  },
});

/** Every issuer type: which claim proves possession, and how its tokens become a SAN and extensions. */
export const issuerTypes: Readonly<Record<IssuerTypeName, IssuerType>> = {
  email: { challengeClaim: 'email', identify: identifyEmail },
  'ci-provider': { challengeClaim: 'sub', identify: identifyCiJob },
  'github-workflow': legacy('github-workflow'),
  'gitlab-pipeline': legacy('gitlab-pipeline'),
  'buildkite-job': legacy('buildkite-job'),
  'codefresh-workflow': legacy('codefresh-workflow'),
  kubernetes: { challengeClaim: 'sub', identify: identifyServiceAccount },
  spiffe: {
    challengeClaim: 'sub',
    identify: (token, config) => {
      checkSpiffeId(token.subject, config.spiffeTrustDomain);
      return { san: { kind: 'uri', value: token.subject } };
    },
  },
  uri: { challengeClaim: 'sub', identify: identifyUri },
  username: { challengeClaim: 'sub', identify: identifyUsername },
  'chainguard-identity': { challengeClaim: 'sub', identify: identifyChainguard },
};

/**
 * Who a verified token speaks for. Throws AppError CLAIM_MISSING, CLAIM_INVALID, EMAIL_NOT_VERIFIED, SUBJECT_INVALID or
 * ISSUER_MISCONFIGURED.
 */
export function toPrincipal(token: VerifiedToken, issuer: Pick<Issuer, 'config'>): Principal {
  const { config } = issuer;
  const type = issuerTypes[config.type];
  const name = type.challengeClaim;
  // The proof of possession is over the subject: without one it would be over nothing.
  if (name === 'sub') requiredText(token.claims, ['sub']);
  const identity = type.identify(token, config);
  const shown = identity.issuer ?? token.issuer;
  const extensions: ExtensionValues = {
    ...identity.extensions,
    issuer: shown,
    issuerV2: shown,
    ...(token.subject === '' ? {} : { tokenSubject: token.subject }),
  };
  refuseNul(extensions);
  const challengeClaim = identity.challengeClaim ?? name;
  const alternative = alternativeChallenge(token, config.challengeClaim, challengeClaim);
  const { issuer: url, subject } = token;
  const { san } = identity;
  const challenge = { claim: challengeClaim, value: requiredText(token.claims, [challengeClaim]) };
  return alternative === undefined
    ? { issuer: url, subject, san, extensions, challenge }
    : { issuer: url, subject, san, extensions, challenge, alternativeChallenge: alternative };
}

/**
 * Fulcio's challenge-claim changes only what /api/v2/configuration tells clients: the proof stays over the type's own
 * claim. A client that believes the configuration signs the other one; both are the token's, so either will do.
 */
function alternativeChallenge(token: VerifiedToken, name: string, own: string): Principal['alternativeChallenge'] {
  const value = claim(token.claims, name);
  return name === '' || name === own || typeof value !== 'string' || value === '' ? undefined : { claim: name, value };
}

/** A NUL would end the value early in whatever reads the certificate with C strings. */
function refuseNul(extensions: ExtensionValues): void {
  for (const value of Object.values(extensions)) {
    if (value.includes('\0')) {
      throw new AppError('CLAIM_INVALID', `a claim puts ${quote(value)} into the certificate; expected no NUL in it`);
    }
  }
}

function identifyEmail(token: VerifiedToken, config: IssuerConfig): Identity {
  const email = requiredText(token.claims, ['email']);
  if (!isEmailAddress(email)) {
    throw new AppError('CLAIM_INVALID', `claim "email" is ${quote(email)}; expected an e-mail address in ASCII`);
  }
  if (!config.skipEmailVerification) requireVerifiedEmail(token);
  const san: San = { kind: 'email', value: email };
  if (config.issuerClaim === undefined) return { san };
  return { san, issuer: requiredText(token.claims, config.issuerClaim) };
}

function requireVerifiedEmail(token: VerifiedToken): void {
  const verified = claim(token.claims, 'email_verified');
  if (verified === true || verified === 'true') return;
  throw new AppError('EMAIL_NOT_VERIFIED', `claim "email_verified" is ${describe(verified)}; expected true`);
}

function identifyCiJob(token: VerifiedToken, config: IssuerConfig): Identity {
  if (config.ciProvider === undefined) {
    throw new AppError(
      'ISSUER_MISCONFIGURED',
      `issuer ${quote(token.issuer)} is of type ci-provider, but the server's configuration has no templates for it`,
    );
  }
  const { san, extensions } = applyProvider(config.ciProvider, token.claims);
  return { san: uriSan(san, 'the identity'), extensions };
}

function identifyServiceAccount(token: VerifiedToken): Identity {
  const namespace = kubernetesName(token, ['kubernetes.io', 'namespace']);
  const account = kubernetesName(token, ['kubernetes.io', 'serviceaccount', 'name']);
  const text = `https://kubernetes.io/namespaces/${namespace}/serviceaccounts/${account}`;
  return { san: uriSan(text, 'the service account') };
}

/** Never more than one path part, so that no name can pose as another namespace's account. */
function kubernetesName(token: VerifiedToken, path: readonly string[]): string {
  const name = requiredText(token.claims, path);
  if (!/[/?#%\\]/.test(name) && name !== '.' && name !== '..') return name;
  throw new AppError('CLAIM_INVALID', `claim ${quote(path.join('.'))} is ${quote(name)}; expected a Kubernetes name`);
}

function identifyUri(token: VerifiedToken, config: IssuerConfig): Identity {
  if (isEmailAddress(token.subject)) throw subjectIs(token, 'an e-mail address; this issuer speaks for URIs');
  const uri = parseUri(token.subject, 'the subject');
  const domain = parseUri(config.subjectDomain, 'the subject-domain');
  if (uri.scheme !== domain.scheme || uri.host !== domain.host || uri.authority.includes('@')) {
    throw subjectIs(token, `outside of ${quote(config.subjectDomain)}; expected that scheme and host, and no user`);
  }
  return { san: { kind: 'uri', value: uri.text } };
}

function identifyUsername(token: VerifiedToken, config: IssuerConfig): Identity {
  const name = token.subject;
  if (name.includes('!')) throw subjectIs(token, 'not a user name; expected no "!" in it');
  if (isEmailAddress(name)) throw subjectIs(token, 'an e-mail address; this issuer speaks for user names');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a name must not hold
  if (/[\u0000-\u001f\u007f]/.test(name)) throw subjectIs(token, 'not a user name; expected no control characters');
  return { san: { kind: 'username', value: `${name}!${config.subjectDomain}` } };
}

function identifyChainguard(token: VerifiedToken): Identity {
  const parts = token.subject.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..') || /[?#]/.test(token.subject)) {
    throw subjectIs(token, 'not an identity path; expected parts joined by /');
  }
  const san = uriSan(`${token.issuer.replace(/\/$/, '')}/${token.subject}`, 'the identity');
  if (claimAt(token.claims, ['email']) === undefined) return { san };
  requireVerifiedEmail(token);
  return { san, challengeClaim: 'email' };
}

function subjectIs(token: VerifiedToken, what: string): AppError {
  return new AppError('SUBJECT_INVALID', `the token's subject ${quote(token.subject)} is ${what}`);
}
