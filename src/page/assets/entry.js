/** One certificate of a log, and the check of its proof. */
import { addCopyButton } from './copy.js';
import { address, ask, byId, el, namesOf, pairs, time } from './parts.js';
import { checkEntry } from './proof.js';
import { textElement, warningOf } from './text.js';

/** @import { Detail, EntryAnswer, Log } from './parts.js' */

/**
 * Shows an entry in the page, and what became of its proof.
 * @param {Log} log @param {string} index
 */
export async function showEntry(log, index) {
  const path = `logs/${encodeURIComponent(log.name)}/entries/${encodeURIComponent(index)}`;
  const answer = /** @type {EntryAnswer} */ (await ask(path));
  const { entry } = answer;
  const proof = el(
    'section',
    { class: 'proof', 'aria-labelledby': 'proof' },
    el('h3', { id: 'proof', text: 'Is it in the log?' }),
  );
  const verdict = el('div', { role: 'status' }, el('p', 'Checking in your browser…'));
  proof.append(verdict);
  byId('status').textContent = '';
  document.title = `Entry ${entry.index}: Mayfly`;
  byId('view').replaceChildren(
    el(
      'p',
      { class: 'trail' },
      el('a', { text: 'Latest certificates', href: address({ log: log.name }) }),
      ` / entry ${entry.index}`,
    ),
    el('h2', {}, ...headingOf(entry)),
    ...warningsOf(entry),
    facts(log, entry),
    proof,
    extensionsOf(entry),
    pemOf(entry, `page/api/${path}/certificate.pem`),
    nearby(log, entry.index),
  );
  verdict.replaceChildren(...(await verdictOf(answer, log)));
}

/** @param {Detail} entry */
function headingOf({ names }) {
  const [first] = names;
  return first === undefined ? ['A certificate without a name'] : [textElement(first.value)];
}

/** @param {Detail} entry */
function warningsOf({ names, issuer, trouble }) {
  const texts = [...names.map(({ value }) => warningOf(value)), issuer === undefined ? undefined : warningOf(issuer)];
  const warnings = [trouble === undefined ? undefined : `The certificate is not readable: ${trouble}.`, ...texts];
  return [...new Set(warnings.filter((text) => text !== undefined))].map((text) =>
    el('p', { class: 'notice warn' }, textElement(text)),
  );
}

/** @param {Log} log @param {Detail} entry */
function facts(log, entry) {
  /** @type {[string, (Node | string)[] | undefined][]} */
  const rows = [
    ['Identity', entry.names.length === 0 ? undefined : namesOf(entry)],
    ['Token issuer', entry.issuer === undefined ? undefined : [textElement(entry.issuer)]],
    [
      'Valid',
      entry.notBefore === undefined || entry.notAfter === undefined
        ? undefined
        : [time(entry.notBefore), ' to ', time(entry.notAfter)],
    ],
    ['Logged', [time(entry.loggedAt), ` in ${log.origin}`]],
    [
      'Serial number',
      entry.serial === undefined ? undefined : [el('code', { class: 'fingerprint', text: pairs(entry.serial) })],
    ],
    ['Public key', entry.publicKey === undefined ? undefined : [entry.publicKey]],
    [
      'Issued by',
      entry.issuedBy === undefined ? undefined : [textElement(entry.issuedBy), `, ${entry.signatureAlgorithm ?? ''}`],
    ],
    [
      'SHA-256',
      [
        el('code', { class: 'fingerprint', text: pairs(entry.fingerprint) }),
        ' ',
        el('span', { class: 'note', text: `of this ${entry.kind}` }),
      ],
    ],
  ];
  const shown = rows.flatMap(([name, parts]) =>
    parts === undefined ? [] : [el('div', {}, el('dt', name), el('dd', {}, ...parts))],
  );
  return el('dl', { class: 'facts' }, ...shown);
}

/** @param {EntryAnswer} answer @param {Log} log */
async function verdictOf({ entry, leafInput, checkpoint, auditPath, log: { origin, logId, publicKey } }, log) {
  const { subtle } = globalThis.crypto;
  if (subtle === undefined) {
    const why =
      'This page came over plain HTTP, and browsers give WebCrypto to HTTPS and localhost only: nothing was checked.';
    return [el('p', { class: 'verdict unknown', text: 'Not checked' }), el('p', why)];
  }
  const claim = { pem: entry.pem, index: entry.index, leafInput, auditPath, checkpoint, origin, logId, publicKey };
  const steps = await checkEntry(claim, subtle);
  if (logId !== log.logId) {
    const detail = `the log ID is ${logId}; the list of logs has ${log.logId}`;
    steps.push({ name: 'The log is the one in the list', ok: false, detail });
  }
  const isGood = steps.every(({ ok }) => ok);
  const list = steps.map(({ name, ok, detail }) =>
    el(
      'li',
      { class: ok ? 'ok' : 'failed' },
      el('b', `${ok ? 'Passed' : 'Failed'}: ${name}`),
      el('br'),
      textElement(detail),
    ),
  );
  const limits =
    'Your browser computed this from the certificate below and the log’s own answers. It did not check that the log shows the same tree to everybody, ' +
    'nor whose key this is: compare the log ID with the one in the trust files you use. The fields on this page were decoded by the server; the certificate below is what counts.';
  return [
    isGood
      ? el('p', { class: 'verdict good', text: 'Yes: proven in your browser' })
      : el('p', { class: 'verdict bad', text: 'Refused: the proof does not hold' }),
    el('ol', { class: 'steps' }, ...list),
    el('p', { class: 'note', text: limits }),
  ];
}

/** @param {Detail} entry */
function extensionsOf({ extensions }) {
  const rows = extensions.map(({ oid, name, critical, value, form, deprecated }) => {
    const lines = value.split('\n').map((line) => el('div', {}, textElement(form === 'bytes' ? pairs(line) : line)));
    const notes = [critical ? 'critical' : '', deprecated ? 'deprecated' : '', form === 'bytes' ? 'bytes' : ''].filter(
      (note) => note !== '',
    );
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, name, el('br'), el('code', { class: 'note', text: oid })),
      el('td', {}, ...lines, notes.length === 0 ? undefined : el('span', { class: 'note', text: notes.join(', ') })),
    );
  });
  const body = el('tbody', {}, ...rows);
  return el(
    'section',
    { 'aria-labelledby': 'extensions' },
    el('h3', { id: 'extensions', text: 'Extensions' }),
    el('table', { class: 'stack extensions' }, body),
  );
}

/** @param {Detail} entry @param {string} href */
function pemOf({ pem, kind }, href) {
  const block = el('div', { class: 'code' }, el('pre', { class: 'pem', tabindex: '0' }, el('code', pem)));
  addCopyButton(block);
  const note =
    kind === 'precertificate'
      ? 'The log holds the precertificate: the certificate as it was issued, but with a poison extension where the certificate has its log receipts (SCTs), and with a signature of its own.'
      : 'This certificate was put into the log as it is.';
  return el(
    'section',
    { 'aria-labelledby': 'pem' },
    el('h3', { id: 'pem', text: kind === 'precertificate' ? 'Precertificate' : 'Certificate' }),
    el('p', { class: 'note', text: note }),
    block,
    el('p', {}, el('a', { class: 'button', text: 'Download PEM', href, download: '' })),
  );
}

/** @param {Log} log @param {number} index */
function nearby(log, index) {
  const link = (/** @type {string} */ text, /** @type {number} */ to) =>
    el('a', { text, href: address({ log: log.name, index: to }) });
  return el(
    'nav',
    { class: 'pages', 'aria-label': 'Other entries' },
    index + 1 < log.size ? link('Newer entry', index + 1) : undefined,
    index > 0 ? link('Older entry', index - 1) : undefined,
  );
}
