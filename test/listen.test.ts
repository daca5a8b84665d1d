import { type ListenOptions, Server } from 'node:net';
import { listen } from '../src/listen.js';

test('more connections may wait to be accepted than Node asks for, so that a crowd is not left to TCP retransmissions', async () => {
  const asked: (ListenOptions | undefined)[] = [];
  class Observed extends Server {
    override listen(...given: unknown[]): this {
      asked.push(given[0] as ListenOptions);
      return Reflect.apply(super.listen, this, given) as this;
    }
  }
  const server = new Observed();
  expect(await listen(server, '127.0.0.1', 0, '--port')).toBeGreaterThan(0);
  server.close();
  expect(asked[0]?.backlog).toBeGreaterThanOrEqual(4096);
});
