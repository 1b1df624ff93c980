/**
 * Everything that is counted, in one table, and its Prometheus text (exposition format 0.0.4).
 * Each process counts for itself; values of several are merged before they are printed. No run
 * id, key or path is ever a label.
 */

interface Family {
  readonly type: 'counter' | 'gauge';
  /** How the values of several processes become one. */
  readonly merge: 'sum' | 'max';
  readonly help: string;
  readonly label?: string;
}

const counter = (help: string, label?: string): Family =>
  ({ type: 'counter', merge: 'sum', help, ...(label !== undefined && { label }) });

/** All metrics there are. */
export const METRICS = {
  runcast_streams: { type: 'gauge', merge: 'sum', help: 'Open streams.' },
  runcast_runs: { type: 'gauge', merge: 'sum', help: 'Runs followed, counted in each process.' },
  runcast_streams_opened_total: counter('Streams begun.'),
  runcast_streams_closed_total: counter('Streams whose connection is gone, by why.', 'reason'),
  runcast_events_total: counter('Events written, by name.', 'event'),
  runcast_states_skipped_total: counter('States that a slow reader was not sent.'),
  runcast_refusals_total: counter('Requests refused, by code.', 'code'),
  runcast_limit_total: counter('Newcomers refused by a limit, by its name.', 'limit'),
  runcast_proofs_total: counter('Requests to upstream for a proof.'),
  runcast_polls_total: counter('Polls of upstream.'),
  runcast_list_pages_total: counter('Pages of upstream\'s list of runs that were asked for.'),
  runcast_separate_polls_total: counter(
    'Polls that as many clients would have made without a gateway, one an interval each.'),
  runcast_budget_left: { type: 'gauge', merge: 'sum', help: 'Requests that upstream may be sent '
    + 'now; +Inf where neither --upstream-rate nor upstream says.' },
  runcast_upstream_answers_total: counter('Answers of upstream, by what they were.', 'kind'),
  runcast_forwarded_total: counter('Requests passed on, by what came of them.', 'result'),
  runcast_pushes_total: counter('What came without being asked for and was taken.', 'kind'),
  runcast_webhooks_refused_total: counter('Webhooks refused, by what was wrong.', 'reason'),
  runcast_worker_deaths_total: counter('Workers that died without being told to.'),
  runcast_event_loop_delay_max_seconds:
    { type: 'gauge', merge: 'max', help: 'Longest delay of an event loop in the last 10 s.' },
} as const satisfies Record<string, Family>;

/** Name of a metric. */
export type MetricName = keyof typeof METRICS;

/** One value: the metric, what its label says (empty without one), the number. */
export type Sample = readonly [name: MetricName, label: string, value: number];

/** The counts of one process. */
export class Metrics {
  readonly #values = new Map<MetricName, Map<string, number>>();
  readonly #readers: (() => Sample)[] = [];

  /** `label` is what the metric's one label says. */
  count(name: MetricName, label = '', by = 1): void {
    const values = this.#values.get(name) ?? new Map<string, number>();
    this.#values.set(name, values);
    values.set(label, (values.get(label) ?? 0) + by);
  }

  /** Counted elsewhere, where counting must cost nothing; read whenever the metrics are. */
  read(name: MetricName, read: () => number, label = ''): void {
    this.#readers.push(() => [name, label, read()]);
  }

  samples(): Sample[] {
    const counted = [...this.#values].flatMap(([name, values]) =>
      [...values].map(([label, value]): Sample => [name, label, value]));
    return [...counted, ...this.#readers.map((read) => read())];
  }
}

/** The samples of several processes as one. */
export function mergeSamples(samples: readonly Sample[]): Sample[] {
  const merged = new Map<string, Sample>();
  for (const [name, label, value] of samples) {
    const before = merged.get(`${name} ${label}`)?.[2];
    const both = METRICS[name].merge === 'max'
      ? Math.max(before ?? value, value)
      : (before ?? 0) + value;
    merged.set(`${name} ${label}`, [name, label, both]);
  }
  return [...merged.values()];
}

/** Prometheus text. A counter that never counted is 0, where it has no label. */
export function renderMetrics(samples: readonly Sample[]): string {
  const names = Object.keys(METRICS) as MetricName[];
  return names.map((name) => {
    const { type, help, label }: Family = METRICS[name];
    const lines = samples.filter(([of]) => of === name).map(([, value, number]) => {
      const labels = label === undefined ? '' : `{${label}="${escape(value)}"}`;
      return `${name}${labels} ${number === Infinity ? '+Inf' : number}\n`;
    });
    const none = label === undefined && type === 'counter' ? [`${name} 0\n`] : [];
    const values = lines.length > 0 ? lines : none;
    return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${values.join('')}`;
  }).join('');
}

function escape(label: string): string {
  return label.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}
