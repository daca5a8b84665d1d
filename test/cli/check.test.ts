import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { Command } from 'commander';
import { registerCheck } from '../../src/cli/check.js';
import { emailConfig, temporary } from '../server/lab.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());

/** Runs `mayfly check …` and gives its exit code and what it printed. */
async function check(...args: string[]): Promise<{ code: number; text: string }> {
  let code = -1;
  let text = '';
  const write = jest.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    const program = new Command().exitOverride();
    registerCheck(program, (result) => {
      code = result;
    });
    await program.parseAsync(['node', 'mayfly', 'check', ...args]);
  } finally {
    write.mockRestore();
  }
  return { code, text };
}

const jane = { email: 'jane@example.com', email_verified: true };

describe('mayfly check config', () => {
  test('prints each issuer and says that it answers', async () => {
    const { code, text } = await check('config', emailConfig(temporary(), issuer.url));
    expect(code).toBe(0);
    expect(text).toMatch(/type +email/);
    expect(text).toMatch(/keys +1 fetched/);
  });

  test('names an issuer that cannot be reached, and why', async () => {
    const { code, text } = await check('config', emailConfig(temporary(), 'http://127.0.0.1:1'));
    expect(code).toBe(1);
    expect(text).toMatch(/NOT REACHABLE: .+/);
    expect(text).toMatch(/the file itself is in order/);
  });

  test('asks nobody with --offline', async () => {
    const before = issuer.fetches.discovery;
    const { code, text } = await check('config', '--offline', emailConfig(temporary(), issuer.url));
    expect([code, issuer.fetches.discovery]).toEqual([0, before]);
    expect(text).toContain('not asked (--offline)');
  });

  test('fails with file, line and reason for a file that does not load', async () => {
    const file = join(temporary(), 'bad.yaml');
    writeFileSync(file, 'oidc-issuers:\n  https://a:\n    issuer-url: https://a\n    type: emial\n    client-id: x\n');
    await expect(check('config', file)).rejects.toMatchObject({ detail: expect.stringMatching(/bad\.yaml:4.*email/) });
  });
});

describe('mayfly check token', () => {
  test('prints every check and what the certificate would say', async () => {
    const { code, text } = await check(
      'token',
      '--config',
      emailConfig(temporary(), issuer.url),
      await issuer.token(jane),
    );
    expect(code).toBe(0);
    for (const name of ['form', 'issuer', 'signature', 'audience', 'times', 'identity']) {
      expect(text).toMatch(new RegExp(`^ok +${name}`, 'm'));
    }
    expect(text).toContain('SAN email: "jane@example.com"');
    expect(text).toContain('The server would accept this token.');
  });

  test('goes on after a failed check, so that all of them are seen at once', async () => {
    const claims = { ...jane, aud: 'npm', exp: 1000, email_verified: false };
    const { code, text } = await check(
      'token',
      '--config',
      emailConfig(temporary(), issuer.url),
      await issuer.token(claims),
    );
    expect(code).toBe(1);
    expect(text).toMatch(/^ok +signature/m);
    expect(text).toMatch(/^FAIL +audience +TOKEN_AUDIENCE_MISMATCH/m);
    expect(text).toMatch(/^FAIL +times +TOKEN_EXPIRED/m);
    expect(text).toMatch(/^FAIL +identity +EMAIL_NOT_VERIFIED/m);
  });

  test('offline, leaves the signature out and says so', async () => {
    const token = `${(await issuer.token(jane)).slice(0, -8)}AAAAAAAA`;
    const { text } = await check('token', '--offline', '--config', emailConfig(temporary(), issuer.url), token);
    expect(text).toMatch(/^-- +signature/m);
    expect(text).toContain('if its signature is good');
  });

  test('escapes what a token says, so that it cannot play with the terminal', async () => {
    const token = await issuer.token({ ...jane, email: 'a\u001b[2J@example.com' });
    const { text } = await check('token', '--config', emailConfig(temporary(), issuer.url), token);
    expect(text).not.toContain('\u001b');
  });
});
