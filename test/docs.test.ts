import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { errorTable } from '../src/errors.js';

const project = resolve(import.meta.dirname, '..');
const docs = readdirSync(join(project, 'docs'), { recursive: true, encoding: 'utf8' });
const pages = ['README.md', 'CHANGELOG.md', 'SECURITY.md', ...docs.map((name) => `docs/${name}`)].filter((page) =>
  /\.\w+$/.test(page),
);
const read = (page: string): string => readFileSync(join(project, page), 'utf8');

test.each(Object.keys(errorTable).filter((reason) => reason !== 'STARTUP'))('docs/errors.md explains %s', (reason) => {
  expect(read('docs/errors.md')).toMatch(new RegExp(`\\b${reason}\\b`));
});

test.each(pages.filter((page) => page.endsWith('.md')))('every link of %s to a file leads somewhere', (page) => {
  const links = [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, target]) => target ?? '');
  const dead = links.filter((target) => !existsSync(join(project, dirname(page), target)));
  expect(dead).toEqual([]);
});

test('no page names a package registry or a path of the machine it was written on', () => {
  for (const page of pages) expect(read(page)).not.toMatch(/registry\.npmjs|proxy\.golang|pypi\.org|\/root\/|\/work\//);
});
