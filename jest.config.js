/** Fast tests: everything that needs Node and npm only. The real clients live in jest.interop.config.js. */
export default {
  testEnvironment: 'node',
  globalSetup: '<rootDir>/test/support/temporary-files.mjs',
  globalTeardown: '<rootDir>/test/support/remove-temporary-files.mjs',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/interop/'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  testTimeout: 60000,
};
