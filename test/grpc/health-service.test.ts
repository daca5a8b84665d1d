import { on } from 'node:events';
import { type ClientReadableStream, Metadata, status } from '@grpc/grpc-js';
import { healthService } from '../../src/grpc/definitions.js';
import { servingStatus } from '../../src/grpc/health-service.js';
import { call, checkMethod, closeAll, connect, methodOf, serve } from './support.js';

afterEach(closeAll);

const { serving, notServing, serviceUnknown } = servingStatus;
const services = ['', 'dev.sigstore.fulcio.v2.CA', 'grpc.health.v1.Health'];
const listMethod = methodOf(healthService, 'List');
const watchMethod = methodOf(healthService, 'Watch');

describe('Check', () => {
  test.each(services)('of "%s" follows the readiness of every dependency', async (service) => {
    const checks = [{ ok: true }, { ok: true }];
    const { port } = await serve({ readiness: () => checks });
    const client = connect(port);

    expect((await call(client, checkMethod, { service })).answer).toEqual({ status: serving });
    checks[1] = { ok: false };
    expect((await call(client, checkMethod, { service })).answer).toEqual({ status: notServing });
    checks[1] = { ok: true };
    expect((await call(client, checkMethod, { service })).answer).toEqual({ status: serving });
  });

  test('of a service nobody has is NOT_FOUND', async () => {
    const { port } = await serve();

    const outcome = await call(connect(port), checkMethod, { service: 'nothing' });

    expect(outcome).toMatchObject({ code: status.NOT_FOUND, details: { info: { reason: 'NOT_FOUND' } } });
    expect(outcome.message).toContain('dev.sigstore.fulcio.v2.CA');
  });
});

test('List names every service', async () => {
  const { port } = await serve({ readiness: () => [{ ok: false }] });

  const { answer } = await call(connect(port), listMethod, {});

  // As on the wire: a map is a list of entries.
  expect(answer).toEqual({ statuses: services.map((key) => ({ key, value: { status: notServing } })) });
});

describe('Watch', () => {
  test('tells the status at once and then each change, and nothing twice', async () => {
    let ready = true;
    let asked = 0;
    const readiness = () => {
      asked++;
      return [{ ok: ready }];
    };
    const { port } = await serve({ readiness });
    const watching = watch(port, '');

    expect(await watching.next()).toBe(serving);
    ready = false;
    expect(await watching.next()).toBe(notServing);
    const before = asked;
    while (asked < before + 3) await new Promise((resolve) => setTimeout(resolve, 5));
    ready = true;
    expect(await watching.next()).toBe(serving);
  });

  test('stops asking for the readiness when the last watcher has gone', async () => {
    let asked = 0;
    const { server, port } = await serve({
      readiness: () => {
        asked++;
        return [{ ok: true }];
      },
    });
    const watching = watch(port, '');
    await watching.next();
    watching.stream.cancel();
    await watching.ended;
    await server.close(1000);

    const before = asked;
    await new Promise((resolve) => setTimeout(resolve, 30));

    expect(asked).toBe(before);
  });

  test('says SERVICE_UNKNOWN of a service nobody has and keeps the stream', async () => {
    const { server, port } = await serve();
    const watching = watch(port, 'nothing');

    expect(await watching.next()).toBe(serviceUnknown);
    await server.close(1000);
    expect((await watching.ended).code).toBe(status.OK);
  });

  test('ends with NOT_SERVING when the server shuts down, which does not wait for it', async () => {
    const { server, port } = await serve();
    const watching = watch(port, '');
    expect(await watching.next()).toBe(serving);

    await server.close(60_000);

    expect(await watching.next()).toBe(notServing);
    expect((await watching.ended).code).toBe(status.OK);
  });
});

function watch(port: number, service: string) {
  const { path, requestSerialize, responseDeserialize } = watchMethod;
  const stream: ClientReadableStream<object> = connect(port).makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    { service },
    new Metadata(),
  );
  stream.on('error', () => undefined);
  const messages = on(stream, 'data');
  const ended = new Promise<{ code: number }>((resolve) => {
    stream.once('status', resolve);
  });
  const next = async (): Promise<number> => {
    const { value } = await messages.next();
    return value[0].status;
  };
  return { stream, next, ended };
}
