/** The log explorer: which view an address asks for, the search and the list. */
import { showEntry } from './entry.js';
import { address, ask, byId, counted, el, namesOf, setValue, time } from './parts.js';
import { textElement } from './text.js';

/** @import { List, Log, Summary } from './parts.js' */

const parameters = new URLSearchParams(location.search);
const view = byId('view');
const status = byId('status');

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
