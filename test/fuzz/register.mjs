import { register } from 'node:module';

// node --import ./test/fuzz/register.mjs FILE.ts: runs TypeScript without a build, for programs that jest does not start.
register('./loader.mjs', import.meta.url);
