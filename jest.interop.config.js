import base from './jest.config.js';

/** The real clients against a built Mayfly: one file at a time, since several of the programs share fixed ports and two cores. */
export default {
  ...base,
  testMatch: ['<rootDir>/test/interop/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
  maxWorkers: 1,
  silent: true, // oidc-provider prints its advice for production
  testTimeout: 120000,
};
