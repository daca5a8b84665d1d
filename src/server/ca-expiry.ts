import type { Logger } from 'pino';
import { Counter, Gauge } from 'prom-client';
import { describeTimeLeft } from '../ca/time-left.js';
import type { Metrics } from '../metrics.js';
import { parseCertificate } from '../x509/certificate.js';
import { describeName } from '../x509/name.js';
import type { CaView, PublishedCa } from './ca-view.js';

const dayMs = 24 * 60 * 60 * 1000;
/** How many days before a certificate's end the log warns, once each. */
const warnDays = [1, 7, 14, 30];

interface CaCertificate {
  readonly ca: PublishedCa;
  readonly subject: string;
  readonly notAfter: Date;
}

/** The certificates of every CA that issues or may come to. */
function certificatesOf({ published }: CaView): readonly CaCertificate[] {
  return published
    .filter(({ state }) => state !== 'retired')
    .flatMap((ca) =>
      ca.chain.map((der) => {
        const { subject, notAfter } = parseCertificate(der);
        return { ca, subject: describeName(subject), notAfter };
      }),
    );
}

/** Warns of certificates of the active and the next CA that end soon: 30, 14, 7 and 1 days before. */
export function createExpiryWarnings(logger: Pick<Logger, 'warn'>, clock: () => number): (view: CaView) => void {
  const said = new Set<string>();
  return (view) => {
    for (const { ca, subject, notAfter } of certificatesOf(view)) {
      const leftMs = notAfter.getTime() - clock();
      const step = warnDays.find((days) => leftMs <= days * dayMs);
      const warning = `${ca.fingerprint} ${subject} ${step}`;
      if (ca.state === 'former' || step === undefined || said.has(warning)) continue;
      said.add(warning);
      const left = leftMs < 0 ? 'has ended' : `ends in ${describeTimeLeft(leftMs)}`;
      const what = `the certificate ${subject} of the ${ca.state} CA ${ca.name} ${left}, at ${notAfter.toISOString()}`;
      logger.warn({ ca: ca.name, state: ca.state, notAfter }, `${what}: ${advice[ca.state]}`);
    }
  };
}

const advice: Readonly<Record<PublishedCa['state'], string>> = {
  active: 'publish its successor now, so that clients know it before it is promoted (docs/keys.md)',
  next: 'replace it before it is promoted',
  former: '',
  retired: '',
};

/** Adds the metrics of the CAs; `view` gives those in force. */
export function observeCas(
  { registry }: Pick<Metrics, 'registry'>,
  view: () => CaView,
  clock: () => number,
): { readonly reloads: Counter<'result'> } {
  const registers = [registry];
  new Gauge({
    name: 'mayfly_ca_seconds_until_expiry',
    help: 'Seconds until a certificate of a CA ends, by CA, its state and the subject of the certificate',
    labelNames: ['ca', 'state', 'subject'],
    registers,
    collect() {
      this.reset();
      for (const { ca, subject, notAfter } of certificatesOf(view())) {
        this.set({ ca: ca.name, state: ca.state, subject }, (notAfter.getTime() - clock()) / 1000);
      }
    },
  });
  const reloads = new Counter({
    name: 'mayfly_ca_reloads_total',
    help: 'Changes of the certificate authorities that were put in force or refused',
    labelNames: ['result'],
    registers,
  });
  // Prometheus sees no increase in a series that begins at 1.
  for (const result of ['loaded', 'refused']) reloads.inc({ result }, 0);
  return { reloads };
}
