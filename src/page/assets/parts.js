/** What the explorer's views are made of. Everything that comes from a certificate becomes text, by `textElement`. */
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

/** @param {string} id */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no ${id}`);
  return element;
}

/**
 * @param {string} tag
 * @param {string | { class?: string, text?: string, [attribute: string]: string | undefined }} [options]
 * @param {(Node | string | undefined)[]} children
 */
export function el(tag, options = {}, ...children) {
  const { class: className, text, ...attributes } = typeof options === 'string' ? { text: options } : options;
  const element = document.createElement(tag);
  if (className !== undefined) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** @param {string} path @returns {Promise<any>} */
export async function ask(path) {
  const response = await fetch(`page/api/${path}`, { headers: { accept: 'application/json' } });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.message ?? `the server answered with status ${response.status}`);
  return body;
}

/** @param {number} ms */
export function time(ms) {
  const text = new Date(ms).toISOString();
  return el('time', { text: `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`, datetime: text });
}

/** @param {Record<string, string | number | undefined>} query */
export function address(query) {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [[name, String(value)]],
  );
  return `explore?${new URLSearchParams(given)}`;
}

/** @param {string} hex */
export const pairs = (hex) => hex.toUpperCase().match(/../g)?.join(':') ?? '';

/** @param {number} count @param {string} one @param {string} many */
export const counted = (count, one, many) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

/**
 * @param {Summary} entry
 * @param {string | undefined} href of the entry's own page, where that is another one
 * @returns {(Node | string)[]}
 */
export function namesOf({ names, trouble }, href = undefined) {
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

/** @param {HTMLElement} field @param {string} value */
export function setValue(field, value) {
  if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value;
}
