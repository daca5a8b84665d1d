/** The log explorer. Everything that comes from a certificate is put into the page as text, by `textElement`. */
import { addCopyButton } from './copy.js';
import { checkEntry } from './proof.js';
import { textElement, warningOf } from './text.js';

/**
 * @typedef {{ name: string, origin: string, logId: string, size: number, timestamp: number, frozen: boolean, noSearch?: string }} Log
 * @typedef {{ type: string, value: string }} Name
 * @typedef {{ index: number, loggedAt: number, kind: string, names: Name[], issuer?: string, serial?: string,
 *   notBefore?: number, notAfter?: number, trouble?: string }} Summary
 * @typedef {{ oid: string, name: string, critical: boolean, value: string, form: string, deprecated?: boolean }} Extension
 * @typedef {Summary & { pem: string, fingerprint: string, issuedBy?: string, subject?: string, publicKey?: string,
 *   signatureAlgorithm?: string, extensions: Extension[] }} Detail
 * @typedef {{ entry: Detail, log: { origin: string, logId: string, publicKey: string }, leafInput: string,
 *   checkpoint: string, auditPath: string[] }} EntryAnswer
 * @typedef {{ size: number, entries: Summary[], next?: number, searched?: { from: number, to: number } }} List
 */

/** Names of one certificate in a list. */
const listedNames = 3;

const parameters = new URLSearchParams(location.search);
const view = byId('view');
const status = byId('status');

/** @param {string} id */
function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no ${id}`);
  return element;
}

/**
 * @param {string} tag
 * @param {string | { class?: string, text?: string, [attribute: string]: string | undefined }} [options]
 * @param {(Node | string | undefined)[]} children
 */
function el(tag, options = {}, ...children) {
  const { class: className, text, ...attributes } = typeof options === 'string' ? { text: options } : options;
  const element = document.createElement(tag);
  if (className !== undefined) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** @param {string} path @returns {Promise<any>} */
async function ask(path) {
  const response = await fetch(`page/api/${path}`, { headers: { accept: 'application/json' } });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.message ?? `the server answered with status ${response.status}`);
  return body;
}

/** @param {number} ms */
function time(ms) {
  const text = new Date(ms).toISOString();
  return el('time', { text: `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`, datetime: text });
}

/** @param {Record<string, string | number | undefined>} query */
function address(query) {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [[name, String(value)]],
  );
  return `explore?${new URLSearchParams(given)}`;
}

/** @param {string} hex */
const pairs = (hex) => hex.toUpperCase().match(/../g)?.join(':') ?? '';

/** @param {number} count @param {string} one @param {string} many */
const counted = (count, one, many) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

start()
  .catch(showError)
  .finally(() => view.setAttribute('aria-busy', 'false'));

/** @param {unknown} error */
function showError(error) {
  status.textContent = '';
  const message = error instanceof Error ? error.message : String(error);
  view.replaceChildren(
    el(
      'div',
      { class: 'notice bad', role: 'alert' },
      el('p', {}, el('b', 'This could not be shown. '), textElement(message)),
    ),
    el('p', {}, el('a', { text: 'The latest certificates', href: 'explore' })),
  );
}

async function start() {
  status.textContent = 'Reading the log…';
  const { logs } = /** @type {{ logs: Log[] }} */ (await ask('logs'));
  const log = logs.find(({ name }) => name === (parameters.get('log') ?? logs[0]?.name));
  fillForm(logs, log);
  if (log === undefined) throw new Error('there is no log of this name here');
  const index = parameters.get('index');
  if (index !== null) await showEntry(log, index);
  else await showList(log);
}

/** @param {Log[]} logs @param {Log | undefined} log */
function fillForm(logs, log) {
  const form = byId('search');
  const select = byId('log');
  select.append(
    ...logs.map(({ name, origin, frozen }) =>
      el('option', { text: frozen ? `${origin} (frozen)` : origin, value: name }),
    ),
  );
  setValue(select, log?.name ?? '');
  setValue(byId('q'), parameters.get('q') ?? '');
  setValue(byId('by'), parameters.get('by') ?? 'any');
  select.addEventListener('change', () => {
    if (form instanceof HTMLFormElement) form.requestSubmit();
  });
  if (logs.length < 2) select.parentElement?.setAttribute('hidden', '');
  if (log?.noSearch === undefined) form.hidden = false;
  else
    form.after(el('p', { class: 'notice', text: `${log.noSearch.charAt(0).toUpperCase()}${log.noSearch.slice(1)}.` }));
}

/** @param {HTMLElement} field @param {string} value */
function setValue(field, value) {
  if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value;
}

/** @param {Log} log */
async function showList(log) {
  const query = { q: parameters.get('q')?.trim() || undefined, by: parameters.get('by') ?? undefined };
  const before = parameters.get('before') ?? undefined;
  const asked = address({ ...query, before }).slice('explore?'.length);
  const list = /** @type {List} */ (await ask(`logs/${encodeURIComponent(log.name)}/entries?${asked}`));
  status.replaceChildren(listStatus(log, list, query.q));
  const here = { log: log.name, ...query };
  if (list.entries.length === 0) {
    view.replaceChildren(
      el('p', { class: 'empty', text: query.q === undefined ? 'The log is empty.' : 'Nothing was found.' }),
    );
    return;
  }
  const title = query.q === undefined ? (before === undefined ? 'Latest certificates' : 'Certificates') : 'Found';
  view.replaceChildren(
    el('h2', title),
    table(log, list.entries),
    el(
      'nav',
      { class: 'pages', 'aria-label': 'More certificates' },
      before === undefined ? undefined : el('a', { text: 'Newest', href: address(here) }),
      list.next === undefined
        ? undefined
        : el('a', { text: 'Older', href: address({ ...here, before: list.next }), rel: 'next' }),
    ),
  );
}

/** @param {Log} log @param {List} list @param {string | undefined} query */
function listStatus(log, { size, searched, entries }, query) {
  const where = `${log.origin} has ${counted(size, 'certificate', 'certificates')}`;
  if (query === undefined || searched === undefined) return el('span', `${where}.`);
  if (searched.from === 0 && searched.to >= size) return el('span', `${where}; all were searched.`);
  const text = `${where}; entries ${searched.from} to ${searched.to - 1} were searched, and the rest is being indexed. `;
  const again = el('a', { text: 'Search again', href: location.href });
  return el('span', {}, text, entries.length === 0 || searched.from > 0 ? again : '');
}

/** @param {Log} log @param {Summary[]} entries */
function table(log, entries) {
  const head = ['Identity', 'Token issuer', 'Logged', 'Entry'].map((text) => el('th', { text, scope: 'col' }));
  const rows = entries.map((entry) => {
    const href = address({ log: log.name, index: entry.index });
    const link = el('a', { text: `#${entry.index}`, href });
    return el(
      'tr',
      {},
      el('td', { 'data-label': 'Identity' }, ...namesOf(entry, href)),
      el('td', { 'data-label': 'Token issuer' }, entry.issuer === undefined ? 'not named' : textElement(entry.issuer)),
      el('td', { 'data-label': 'Logged', class: 'time' }, time(entry.loggedAt)),
      el('td', { 'data-label': 'Entry' }, link),
    );
  });
  return el('table', { class: 'stack entries' }, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...rows));
}

/**
 * @param {Summary} entry
 * @param {string | undefined} href of the entry's own page, where that is another one
 * @returns {(Node | string)[]}
 */
function namesOf({ names, trouble }, href = undefined) {
  if (trouble !== undefined) return [el('span', { class: 'odd', text: 'not readable' })];
  if (names.length === 0) return ['no subject alternative name'];
  const shown = href === undefined ? names : names.slice(0, listedNames);
  const rest = names.length - shown.length;
  const elements = shown.map(({ type, value }) => {
    const text = href === undefined ? textElement(value) : el('a', { href }, textElement(value));
    const flag = warningOf(value) === undefined ? undefined : el('span', { class: 'flag', text: 'unusual characters' });
    return el('span', { class: 'name' }, text, ' ', el('span', { class: 'note', text: type }), ' ', flag);
  });
  return rest === 0 ? elements : [...elements, el('span', { class: 'note', text: `and ${rest} more` })];
}

/** @param {Log} log @param {string} index */
async function showEntry(log, index) {
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
  status.textContent = '';
  document.title = `Entry ${entry.index}: Mayfly`;
  view.replaceChildren(
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
  const sameKey = logId === log.logId ? '' : ' The log ID is not the one that the list of logs gave.';
  const limits =
    'Your browser computed this from the certificate below and the log’s own answers. It did not check that the log shows the same tree to everybody, ' +
    'nor whose key this is: compare the log ID with the one in the trust files you use. The fields on this page were decoded by the server; the certificate below is what counts.';
  return [
    isGood
      ? el('p', { class: 'verdict good', text: 'Yes: proven in your browser' })
      : el('p', { class: 'verdict bad', text: 'Refused: the proof does not hold' }),
    el('ol', { class: 'steps' }, ...list),
    el('p', { class: 'note', text: `${limits}${sameKey}` }),
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
