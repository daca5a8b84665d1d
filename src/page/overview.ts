import { createHash } from 'node:crypto';
import { type Check, isReady } from '../http/app.js';
import { clientInstructions } from '../trust/client-instructions.js';
import type { TrustedAuthority, TrustedLog, TrustMaterial } from '../trust/material.js';
import { parseCertificate } from '../x509/certificate.js';
import { describeName } from '../x509/name.js';
import { keyText } from './certificate.js';
import { type Html, html } from './html.js';
import { codeBlock, instructionsHtml, instructionsOf } from './instructions.js';
import { documentOf } from './layout.js';

/** A certificate authority as the page shows it. */
export interface ShownCa {
  readonly name: string;
  readonly state: string;
  /** DER, issuing certificate first, root last. */
  readonly chain: readonly Uint8Array[];
}

/** An issuer as /api/v2/configuration has it. */
export interface ShownIssuer {
  readonly url: string;
  readonly wildcard: boolean;
  readonly audience: string;
  readonly issuerType: string;
}

/** What the page says of an instance, as it is now. */
export interface Instance {
  readonly publicUrl: string;
  /** Before the addresses of trust files and API: empty where they are beside the page. */
  readonly base: string;
  readonly version: string;
  readonly certificateLifetimeMs: number;
  readonly checks: readonly Check[];
  readonly issuers: readonly ShownIssuer[];
  readonly cas: readonly ShownCa[];
  readonly material: TrustMaterial;
  /** Names of the files under /trust. */
  readonly trustFiles: readonly string[];
  readonly hasTuf: boolean;
  /** Whether this instance itself gives timestamps. */
  readonly hasTimestamps: boolean;
}

/** The page at `/`: complete without script. */
export function overviewPage(instance: Instance): string {
  const { publicUrl, version } = instance;
  const main = html`${introduction(instance)}
${trust(instance)}
${clients(instance)}
${issuers(instance)}
${authorities(instance)}
${logs(instance)}
${timestamps(instance)}
${endpoints(instance)}`;
  const title = `${new URL(publicUrl).host}: Mayfly certificate authority`;
  return documentOf({ title, place: 'overview', main, scripts: ['copy.js'], publicUrl, version });
}

function introduction({ publicUrl, certificateLifetimeMs, checks, material }: Instance): Html {
  const troubles = checks.filter(({ ok, required }) => !ok && (required ?? true));
  const state = isReady(checks)
    ? html`<p class="badge good">Ready to issue certificates</p>`
    : html`<p class="badge bad">Not ready to issue certificates</p>
<ul>${troubles.map(({ name, reason }) => html`<li><b>${name}</b>: ${reason ?? 'not in order'}</li>`)}</ul>`;
  const minutes = Math.round(certificateLifetimeMs / 60_000);
  return html`<section class="intro" aria-labelledby="title">
<h1 id="title">Code signing without keys to keep</h1>
<p class="lead">This is a certificate authority for <a href="https://www.sigstore.dev" rel="noreferrer">Sigstore</a> clients. Whoever proves an
identity with a login or a workload token gets a certificate for it that is good for ${minutes === 1 ? 'a minute' : `${minutes} minutes`}${
    material.ctLogs.length === 0 ? '' : ', and every certificate is on record in a transparency log'
  }.</p>
${state}
<dl class="facts"><div><dt>Address</dt><dd><code>${publicUrl}</code></dd></div></dl>
<p><a class="button" href="explore">See who signed: the log explorer</a></p>
<nav class="contents" aria-label="On this page"><a href="#trust">Trust files</a><a href="#clients">Sign and verify</a>
<a href="#issuers">Issuers</a><a href="#cas">Certificate authorities</a><a href="#logs">Logs</a>
<a href="#tsa">Timestamps</a><a href="#api">For programs</a></nav>
</section>`;
}

const fileNotes: Readonly<Record<string, string>> = {
  'trusted_root.json': 'Whom to trust: CAs, logs, timestamp authorities. For verifying.',
  'signing_config.json': 'Where to sign. For signing, version 0.2.',
  'client-trust-config.json': 'Both in one, for sigstore-python.',
  'ca.pem': 'The chain of the CA in use.',
  'ctlog.pub.pem': 'The public key of the log in use.',
  'tsa.pem': 'The chain of the timestamp authority in use.',
};

function trust({ base, publicUrl, trustFiles, hasTuf }: Instance): Html {
  const rows = trustFiles.filter((name) => name in fileNotes);
  const tuf = hasTuf
    ? html`<p>A <a href="${base}tuf/root.json">TUF repository</a> at <code>${publicUrl}/tuf</code> keeps clients up to date by itself. Compare
the root you fetch with one you got another way: nothing protects the first one.</p>`
    : html`<p>There is no TUF repository here: clients get these files again after every change.</p>`;
  return html`<section aria-labelledby="trust"><h2 id="trust">Trust files</h2>
<p>What a client needs to know about this instance. They are as trustworthy as the way they came to you: fetch them over
HTTPS from a host you trust, or compare the fingerprints below with the operator's.</p>
<table class="stack"><thead><tr><th scope="col">File</th><th scope="col">What it is</th></tr></thead><tbody>
${rows.map((name) => html`<tr><td><a href="${base}trust/${name}" download>${name}</a></td><td>${fileNotes[name]}</td></tr>\n`)}</tbody></table>
${tuf}</section>`;
}

function clients({ publicUrl, material, hasTuf, issuers: all, trustFiles }: Instance): Html {
  const known = material.oidcProviders ?? [];
  // An instance for machines only has nobody to log in; its issuers stand in the certificates all the same.
  const machine = all.find(({ wildcard }) => !wildcard);
  const first = material.cas[0]?.validFor.start ?? new Date(0);
  const providers =
    known.length > 0 || machine === undefined
      ? known
      : [{ url: machine.url, validFor: { start: first }, operator: '' }];
  // Nobody there has a mail address.
  const who = known.length > 0 ? 'jane@example.com' : 'IDENTITY';
  const markdown = clientInstructions({ ...material, oidcProviders: providers }, hasTuf, who);
  const wanted = [
    'trusted_root.json',
    'signing_config.json',
    'client-trust-config.json',
    'ca.pem',
    'ctlog.pub.pem',
    'tsa.pem',
  ];
  const fetches = wanted
    .filter((name) => trustFiles.includes(name))
    .map((name) => `curl -fsSO ${publicUrl}/trust/${name}`);
  const root = hasTuf ? [`curl -fsS -o root.json ${publicUrl}/tuf/1.root.json`] : [];
  const issuer = providers[0]?.url;
  return html`<section aria-labelledby="clients"><h2 id="clients">Sign and verify</h2>
<p>First the trust files, into an empty directory:</p>
${codeBlock([...fetches, ...root].join('\n'))}
<p>Then, in that directory, with <code>FILE</code> for what is signed and <code>${who}</code> for the
identity in the certificate${issuer === undefined ? '' : html` with a token of <code>${issuer}</code>`}:</p>
${instructionsHtml(instructionsOf(markdown).filter(({ name }) => !name.startsWith('policy-controller')))}</section>`;
}

const typeNotes: Readonly<Record<string, string>> = {
  email: 'people, by mail address',
  uri: 'URIs below a domain',
  username: 'user names',
  spiffe: 'SPIFFE workloads',
  kubernetes: 'Kubernetes service accounts',
  'ci-provider': 'CI workflows',
};

function issuers({ issuers: all, base }: Instance): Html {
  const rows = all.map(
    ({ url, wildcard, audience, issuerType }) => html`<tr>
<td><code>${url}</code>${wildcard ? html` <span class="note">every * is one part of the name</span>` : undefined}</td>
<td data-label="Signs for">${typeNotes[issuerType] ?? issuerType}</td><td data-label="Audience"><code>${audience}</code></td></tr>
`,
  );
  return html`<section aria-labelledby="issuers"><h2 id="issuers">Whose tokens count</h2>
${
  rows.length === 0
    ? html`<p>No issuer is configured: every token is refused.</p>`
    : html`<table class="stack"><thead><tr><th scope="col">Issuer</th><th scope="col">Signs for</th><th scope="col">Audience</th></tr></thead>
<tbody>${rows}</tbody></table>`
}
<p class="note">The same for programs: <a href="${base}api/v2/configuration">/api/v2/configuration</a></p></section>`;
}

const stateNotes: Readonly<Record<string, string>> = {
  active: 'issues now',
  next: 'will issue; clients should know it already',
  former: 'issued before; its certificates stay valid',
  retired: 'issues no more; clients keep it for what it signed',
};

function authorities({ cas, base }: Instance): Html {
  const cards = cas.map(
    ({ name, state, chain }) => html`<article class="card">
<h3>CA ${name} <span class="badge ${state === 'active' ? 'good' : 'quiet'}">${state}</span></h3>
<p class="note">${stateNotes[state] ?? ''}</p>
${chainHtml(chain)}
</article>
`,
  );
  return html`<section aria-labelledby="cas"><h2 id="cas">Certificate authorities</h2>
${cards}
<p class="note">As PEM: <a href="${base}trust/ca.pem">ca.pem</a>, and all that may issue:
<a href="${base}api/v1/rootCert">/api/v1/rootCert</a></p></section>`;
}

function chainHtml(chain: readonly Uint8Array[]): Html {
  const items = chain.map((der, i) => {
    const { subject, notBefore, notAfter, spki } = parseCertificate(der);
    return html`<div class="certificate">
<p><b>${describeName(subject)}</b> <span class="note">${role(i, chain.length)}, ${keyText(spki)}</span></p>
<dl class="facts">
<div><dt>Valid</dt><dd>${day(notBefore)} to ${day(notAfter)}</dd></div>
<div><dt>SHA-256</dt><dd><code class="fingerprint">${fingerprint(der)}</code></dd></div>
</dl></div>
`;
  });
  return html`${items}`;
}

function role(index: number, length: number): string {
  if (length === 1) return 'root and signing certificate';
  return index === length - 1 ? 'root' : index === 0 ? 'signing certificate' : 'intermediate';
}

function logs({ material }: Instance): Html {
  const cards = material.ctLogs.map((log) => logCard(log));
  return html`<section aria-labelledby="logs"><h2 id="logs">Transparency logs</h2>
${cards.length === 0 ? html`<p>Certificates are issued without a log: nothing here shows who got one.</p>` : cards}</section>`;
}

function logCard({ baseUrl, publicKey, validFor }: TrustedLog): Html {
  const state = validFor.end === undefined ? undefined : html` <span class="badge quiet">frozen</span>`;
  return html`<article class="card"><h3><code>${baseUrl}</code>${state}</h3>
<dl class="facts">
<div><dt>Key</dt><dd>${keyText(publicKey)}</dd></div>
<div><dt>Log ID</dt><dd><code class="fingerprint">${fingerprint(publicKey)}</code>
<span class="note">the SHA-256 of its public key</span></dd></div>
<div><dt>Log ID, base64</dt><dd><code class="fingerprint">${createHash('sha256').update(publicKey).digest('base64')}</code></dd></div>
<div><dt>In use</dt><dd>since ${day(validFor.start)}${validFor.end === undefined ? '' : `, last certificate ${day(validFor.end)}`}</dd></div>
</dl></article>
`;
}

function timestamps({ material, hasTimestamps }: Instance): Html {
  const tsas = material.tsas ?? [];
  const none = html`<p>There is none: a signature is provable for as long as its certificate is valid, or by an entry in a
Rekor${(material.rekors ?? []).length > 0 ? ' (there is one)' : ''}.</p>`;
  const card = ({ uri, chain }: TrustedAuthority): Html =>
    html`<article class="card"><h3><code>${uri}</code></h3>${chainHtml(chain)}</article>\n`;
  return html`<section aria-labelledby="tsa"><h2 id="tsa">Timestamp authority</h2>
${tsas.length === 0 ? none : html`<p>RFC 3161 timestamps prove when a file was signed, after its certificate has ended.${hasTimestamps ? '' : ' None is given here now.'}</p>${tsas.map(card)}`}</section>`;
}

function endpoints({ base }: Instance): Html {
  const rows = [
    ['api/v2/configuration', 'issuers, as JSON'],
    ['api/v2/trustBundle', 'CA chains, as JSON'],
    ['api/v1/rootCert', 'CA chains, as PEM'],
    ['readyz', 'what this instance depends on, and whether it is in order'],
  ] as const;
  return html`<section aria-labelledby="api"><h2 id="api">For programs</h2>
<ul>${rows.map(([path, note]) => html`<li><a href="${base}${path}">/${path}</a>: ${note}</li>`)}</ul></section>`;
}

/** Hexadecimal in pairs, as OpenSSL prints it. */
function fingerprint(bytes: Uint8Array): string {
  const hex = createHash('sha256').update(bytes).digest('hex').toUpperCase();
  return hex.match(/../g)?.join(':') ?? '';
}

function day(date: Date): string {
  return date.toISOString().slice(0, 16).replace('T', ' ').concat(' UTC');
}
