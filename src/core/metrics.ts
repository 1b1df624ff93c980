/**
 * Everything that is counted, in one table, and its Prometheus text (exposition format 0.0.4).
 * Each process counts for itself; values of several are merged before they are printed. No run
 * id, key or path is ever a label.
 */

interface Family {
  /** A histogram's buckets are {@link BUCKETS}, and its label tells them apart. */
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** How the values of several processes become one. */
  readonly merge: 'sum' | 'max' | 'min';
  readonly help: string;
  readonly label?: string;
}

const counter = (help: string, label?: string): Family =>
  ({ type: 'counter', merge: 'sum', help, ...(label !== undefined && { label }) });

const gauge = (help: string, label?: string): Family =>
  ({ type: 'gauge', merge: 'sum', help, ...(label !== undefined && { label }) });

/** Upper bounds in seconds, the same for ever: what is stored can only be compared then. */
export const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** All metrics there are. */
export const METRICS = {
  runcast_streams: gauge('Open streams.'),
  runcast_runs: gauge('Runs followed, counted in each process.'),
  runcast_pollers: gauge('Pollers: runs that upstream is asked for, once each.'),
  runcast_streams_opened_total: counter('Streams begun.'),
  runcast_streams_closed_total: counter('Streams whose connection is gone, by why.', 'reason'),
  runcast_streams_unfinished_total:
    counter('Streams that ended before their complete or error event was written.'),
  runcast_events_total: counter('Events written, by name.', 'event'),
  runcast_event_bytes_total: counter('Bytes of all events, before they were compressed.'),
  runcast_sent_bytes_total: counter('Bytes of events as they were sent, by encoding.', 'encoding'),
  runcast_states_skipped_total: counter('States that a slow reader was not sent.'),
  runcast_refusals_total: counter('Requests refused, by code.', 'code'),
  runcast_limit_total: counter('Newcomers refused by a limit, by its name.', 'limit'),
  runcast_proofs_total: counter('Requests to upstream for a proof.'),
  runcast_polls_total: counter('Polls of upstream.'),
  runcast_list_pages_total: counter('Pages of upstream\'s list of runs that were asked for.'),
  runcast_separate_polls_total: counter(
    'Polls that as many clients would have made without a gateway, one an interval each.'),
  runcast_budget_left: gauge('Requests that upstream may be sent '
    + 'now; +Inf where neither --upstream-rate nor upstream says.'),
  runcast_upstream_answers_total: counter('Answers of upstream, by what they were.', 'kind'),
  runcast_forwarded_total: counter('Requests passed on, by what came of them.', 'result'),
  runcast_upstream_request_seconds: { type: 'histogram', merge: 'sum', label: 'le', help: 'How '
    + 'long upstream took to answer, or not to; without streams and what it was asked to hold.' },
  runcast_pushes_total: counter('What came without being asked for and was taken.', 'kind'),
  runcast_webhooks_refused_total: counter('Webhooks refused, by what was wrong.', 'reason'),
  runcast_worker_deaths_total: counter('Workers that died without being told to.'),
  runcast_event_loop_delay_max_seconds:
    { type: 'gauge', merge: 'max', help: 'Longest delay of an event loop in the last 20 s.' },
  runcast_log_lines_dropped_total: counter('Lines of the log that nobody took in time.'),
  runcast_build_info: { type: 'gauge', merge: 'max', help: 'Of runcast.', label: 'version' },
  process_cpu_seconds_total: counter('CPU time of all processes.'),
  process_start_time_seconds:
    { type: 'gauge', merge: 'min', help: 'Start of the oldest process, in Unix time.' },
  process_resident_memory_bytes: gauge('Resident memory of all processes.'),
  process_open_fds: gauge('Open file descriptors of all processes; Linux 6.2 and later tells.'),
  nodejs_heap_size_used_bytes: gauge('Used heap of all processes.'),
  nodejs_heap_size_total_bytes: gauge('Heap of all processes.'),
  nodejs_external_memory_bytes: gauge('Memory of buffers and the like, of all processes.'),
  nodejs_version_info: { type: 'gauge', merge: 'max', help: 'Of Node.', label: 'version' },
} as const satisfies Record<string, Family>;

/** Name of a metric. */
export type MetricName = keyof typeof METRICS;

/**
 * One value: the metric, what its label says (empty without one), the number. Of a histogram the
 * label is the bound of a bucket, whose number is what fell into it and no lower one, or `sum`.
 */
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

  /** One more that took so long. */
  observe(name: MetricName, seconds: number): void {
    this.count(name, String(BUCKETS.find((bound) => seconds <= bound) ?? '+Inf'));
    this.count(name, 'sum', seconds);
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
    const { merge } = METRICS[name];
    const both = merge === 'sum' ? (before ?? 0) + value : Math[merge](before ?? value, value);
    merged.set(`${name} ${label}`, [name, label, both]);
  }
  return [...merged.values()];
}

/** Prometheus text. A counter that never counted is 0, where it has no label. */
export function renderMetrics(samples: readonly Sample[]): string {
  const names = Object.keys(METRICS) as MetricName[];
  return names.map((name) => {
    const { type, help, label }: Family = METRICS[name];
    const mine = samples.filter(([of]) => of === name);
    const lines = type === 'histogram' ? histogramLines(name, mine)
      : mine.map(([, value, number]) => line(name, label, value, number));
    const none = label === undefined && type === 'counter' ? [line(name, undefined, '', 0)] : [];
    const values = lines.length > 0 ? lines : none;
    return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${values.join('')}`;
  }).join('');
}

/** Its buckets add up: each holds all that is below its bound. */
function histogramLines(name: MetricName, samples: readonly Sample[]): string[] {
  const values = new Map(samples.map(([, label, value]) => [label, value]));
  let count = 0;
  const buckets = [...BUCKETS.map(String), '+Inf'].map((bound) => {
    count += values.get(bound) ?? 0;
    return line(`${name}_bucket`, 'le', bound, count);
  });
  const sum = line(`${name}_sum`, undefined, '', values.get('sum') ?? 0);
  return [...buckets, sum, line(`${name}_count`, undefined, '', count)];
}

function line(name: string, label: string | undefined, value: string, number: number): string {
  const labels = label === undefined ? '' : `{${label}="${escape(value)}"}`;
  return `${name}${labels} ${number === Infinity ? '+Inf' : number}\n`;
}

function escape(label: string): string {
  return label.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}
