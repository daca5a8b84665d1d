import { runKills } from './kills.js';

const kills = Number(process.env.KILLS ?? '20');
const seed = process.env.SEED ?? String(Date.now());

test(
  `after ${kills} kills under load every certificate that left is in the log at the index its SCT carries, and no tree head is taken back (SEED=${seed})`,
  async () => {
    const outcome = await runKills({ kills, seed, checkEvery: 100, clients: 16 });
    const { lost, forked, backwards, details } = outcome;
    expect({ lost, forked, backwards, details }).toEqual({ lost: 0, forked: 0, backwards: 0, details: [] });
    expect(outcome.kills).toBe(kills);
    // A load that got nothing, or readers that saw nothing, would prove nothing.
    expect(outcome.certificates).toBeGreaterThan(kills);
    expect(Math.min(outcome.heads, outcome.proofs)).toBeGreaterThan(0);
  },
  kills * 5_000 + 60_000,
);
