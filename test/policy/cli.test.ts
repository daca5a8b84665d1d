import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { jest } from '@jest/globals';
import { Command } from 'commander';
import { registerCheck } from '../../src/cli/check.js';
import { registerPolicy } from '../../src/cli/policy.js';
import { temporary } from '../server/lab.js';

const examples = resolve(import.meta.dirname, '../../config/policy');
const config = join(examples, 'github-actions.yaml');
const github = 'https://token.actions.githubusercontent.com';

/** Runs `mayfly …` and gives its exit code and what it printed on both streams. */
async function mayfly(...args: string[]): Promise<{ code: number; text: string }> {
  let code = -1;
  let text = '';
  const writes = [process.stdout, process.stderr].map((stream) =>
    jest.spyOn(stream, 'write').mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    }),
  );
  try {
    const program = new Command().exitOverride();
    for (const register of [registerPolicy, registerCheck]) {
      register(program, (result) => {
        code = result;
      });
    }
    await program.parseAsync(['node', 'mayfly', ...args]);
  } finally {
    for (const write of writes) write.mockRestore();
  }
  return { code, text };
}

function file(name: string, text: string): string {
  const path = join(temporary(), name);
  writeFileSync(path, text);
  return path;
}

const claims = {
  iss: github,
  sub: 'repo:acme/widgets',
  repository: 'acme/widgets',
  repository_owner_id: '1234567',
  ref: 'refs/tags/v1',
  event_name: 'push',
  runner_environment: 'github-hosted',
  job_workflow_ref: 'acme/widgets/.github/workflows/release.yml@refs/tags/v1',
};
const jwt = (payload: unknown): string => {
  const segment = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${segment({ alg: 'RS256' })}.${segment(payload)}.AA`;
};
const run = (path: string, ...rest: string[]) => mayfly('policy', 'test', path, '--config', config, ...rest);

describe('mayfly policy test', () => {
  test('finds the cases beside the example configuration as they are meant to be', async () => {
    const { code, text } = await run(join(examples, 'cases.yaml'));
    expect(text.match(/^(ok|FAIL)/gm)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok']);
    expect(text).toContain('"a release": by rule "releases"');
    expect(code).toBe(0);
  });

  test.each([
    ['a token', 'token.jwt', `${jwt(claims)}\n`, 0, 'by rule "releases"'],
    ['claims in JSON', 'claims.json', JSON.stringify(claims), 0, 'by rule "releases"'],
    ['claims that nothing allows', 'claims.json', JSON.stringify({ ...claims, ref: 'x' }), 1, 'no rule allows'],
    [
      'a denial that was expected',
      'case.json',
      JSON.stringify({ claims, key: 'rsa-4096', expect: 'denied' }),
      0,
      'RSA keys',
    ],
    [
      'another decision than expected',
      'case.json',
      JSON.stringify({ claims, expect: 'denied' }),
      1,
      '(expected: denied)',
    ],
    ['another rule than expected', 'case.json', JSON.stringify({ claims, rule: 'nightly' }), 1, 'FAIL'],
    [
      'a number for text',
      'claims.json',
      JSON.stringify({ ...claims, repository_owner_id: 1234567 }),
      1,
      'no rule allows',
    ],
    ['a kind of key that is none', 'case.json', JSON.stringify({ claims, key: 'dsa' }), 2, 'key is "dsa"; expected'],
    ['an unknown field', 'case.json', JSON.stringify({ claims, expects: 'x' }), 2, 'has "expects"'],
    [
      'claims that are too few',
      'claims.json',
      JSON.stringify({ iss: github, sub: 'x' }),
      2,
      'before any rule is asked',
    ],
    [
      'another issuer',
      'claims.json',
      JSON.stringify({ iss: 'https://x.example', sub: 'x' }),
      2,
      'is not in the identity',
    ],
    ['an empty file', 'empty.yaml', '', 2, 'is empty'],
    ['a list of text', 'list.yaml', '- a', 2, 'is not a mapping'],
    ['neither token nor YAML', 'x.yaml', '{a: [', 2, 'is neither a token nor YAML'],
  ])('says of %s', async (_what, name, text, code, sentence) => {
    const printed = await run(file(name, text));
    expect(printed).toMatchObject({ code });
    expect(printed.text).toContain(sentence);
  });

  test('takes several files, and prints JSON for programs', async () => {
    const other = file('b.json', JSON.stringify({ ...claims, ref: 'x' }));
    const { code, text } = await run(file('a.json', JSON.stringify(claims)), other, '--json');
    expect(code).toBe(1);
    expect(JSON.parse(text)).toMatchObject([
      { decision: 'allowed', rule: 'releases', reason: null, passed: true },
      { decision: 'denied', rule: null, passed: false, issuer: github },
    ]);
  });

  test('explains each rule and condition', async () => {
    const { text } = await run(file('a.json', JSON.stringify({ ...claims, repository_owner_id: 5 })), '--explain');
    expect(text).toContain('allow "releases": cannot be decided, so it allows nothing');
    expect(text).toContain('claim repository_owner_id: "1234567": cannot be decided');
  });

  test('gives 2 for a configuration that is wrong, and for one that is not there', async () => {
    const wrong = file(
      'wrong.yaml',
      'oidc-issuers: {https://x.example: {client-id: a, type: email, allow: [{name: x}]}}',
    );
    expect(await run(config, '--config', wrong)).toMatchObject({
      code: 2,
      text: expect.stringContaining('allow["x"]'),
    });
    expect(await run(config, '--config', '/nowhere')).toMatchObject({ code: 2 });
  });
});

test('mayfly check config shows the rules', async () => {
  const { text } = await mayfly('check', 'config', config, '--offline');
  expect(text).toContain('policy    deny "pull requests from outside"');
  expect(text).toContain('claim ref: glob "refs/tags/v*"');
  expect(text).toContain('all else is denied');
});
