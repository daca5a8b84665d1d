import { register } from 'node:module';

register('./takeover-loader.mjs', import.meta.url);
const { runWriter } = await import('./takeover-writer.ts');
await runWriter(process.argv[2]);
