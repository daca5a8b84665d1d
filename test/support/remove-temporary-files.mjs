/** jest's global teardown, for temporary-files.mjs. */
export default function tearDown() {
  globalThis.removeTemporaryFiles?.();
}
