import { type Html, html } from './html.js';
import { documentOf } from './layout.js';

export interface ExploreOptions {
  readonly publicUrl: string;
  readonly version: string;
  /** Of the logs that can be looked into. */
  readonly logs: readonly string[];
  /** What cannot be seen here, in a sentence each. */
  readonly notices: readonly string[];
}

/** The frame of the explorer; what is in the log is put into it by script, as text. */
export function explorePage({ publicUrl, version, logs, notices }: ExploreOptions): string {
  const told = notices.map((notice) => html`<p class="notice">${notice}</p>\n`);
  const main = html`<h1>Log explorer</h1>
${told}${logs.length === 0 ? undefined : explorer()}`;
  const scripts = logs.length === 0 ? [] : ['explore.js'];
  return documentOf({ title: 'Log explorer: Mayfly', place: 'explore', main, scripts, publicUrl, version });
}

function explorer(): Html {
  return html`<noscript><p class="notice">The explorer needs JavaScript: it shows what strangers wrote into certificates as plain text, and
checks proofs in your browser. Without it, read the log with <code>mayfly log</code> or any client of RFC 6962.</p></noscript>
<form id="search" role="search" action="explore" hidden>
<div class="field"><label for="log">Log</label><select id="log" name="log"></select></div>
<div class="field grow"><label for="q">Search</label>
<input id="q" name="q" type="search" maxlength="1000" autocomplete="off" spellcheck="false" autocapitalize="none"
 placeholder="jane@example.com, https://github.com/acme, 4f:1a…" aria-describedby="q-help"></div>
<div class="field"><label for="by">In</label><select id="by" name="by">
<option value="any">everything</option><option value="identity">identity</option><option value="issuer">issuer</option>
<option value="serial">serial number</option></select></div>
<button type="submit">Search</button>
<p id="q-help" class="note">Whole values, capitals or not: a mail address or its domain; a URL, or its host with up to three parts of its
path (owner, repository); an issuer; a serial number in hexadecimal.</p>
</form>
<p id="status" role="status" class="note"></p>
<div id="view" aria-busy="true"></div>
`;
}
