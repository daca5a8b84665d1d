import { Histogram, Registry } from 'prom-client';
import { bound, lateObserver } from '../../src/telemetry/late.js';

function histogram(registry: Registry) {
  return new Histogram({
    name: 'seconds',
    help: 'Seconds',
    labelNames: ['stage'],
    buckets: [0.1, 1],
    registers: [registry],
  });
}

test('whoever reads the histogram sees every value, of every set of labels', async () => {
  const registry = new Registry();
  const seconds = histogram(registry);
  const [proof, sign] = [lateObserver(seconds, { stage: 'proof' }), lateObserver(seconds, { stage: 'sign' })];
  for (let i = 0; i < 1000; i++) proof(i % 2 === 0 ? 0.05 : 0.5);
  sign(2);
  seconds.observe({ stage: 'sign' }, 0.01);
  const text = await registry.metrics();
  expect(text).toContain('seconds_count{stage="proof"} 1000');
  expect(text).toContain('seconds_bucket{le="0.1",stage="proof"} 500');
  expect(text).toContain('seconds_count{stage="sign"} 2');
  expect(text).toContain('seconds_bucket{le="1",stage="sign"} 1');
  proof(0.05);
  expect(await registry.metrics()).toContain('seconds_count{stage="proof"} 1001');
});

test('a histogram’s own collect is still called', async () => {
  const registry = new Registry();
  let collected = 0;
  const collect = (): void => void collected++;
  const seconds = new Histogram({ name: 'seconds', help: 'Seconds', registers: [registry], collect });
  lateObserver(seconds, {})(1);
  expect(await registry.metrics()).toContain('seconds_count 1');
  expect(collected).toBe(1);
});

test('the same labels have one observer, however often it is asked for', () => {
  const seconds = histogram(new Registry());
  expect(lateObserver(seconds, { stage: 'log' })).toBe(lateObserver(seconds, { stage: 'log' }));
  expect(lateObserver(seconds, { stage: 'log' })).not.toBe(lateObserver(seconds, { stage: 'sign' }));
});

test('what is bound to a name is made once', () => {
  const made: string[] = [];
  const of = bound((name) => {
    made.push(name);
    return name === 'none' ? undefined : { name };
  });
  expect(of('a')).toBe(of('a'));
  expect(of('b')).toEqual({ name: 'b' });
  expect(made).toEqual(['a', 'b']);
});
