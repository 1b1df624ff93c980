/** What this process takes of the machine, under the names that Prometheus' clients use. */

import { statSync } from 'node:fs';

import type { Metrics } from '../core/metrics.ts';
import { VERSION } from '../core/version.ts';
import { droppedLines } from './stderr-log.ts';

/** Read whenever the metrics are, and cheap: a worker tells its counts once a second. */
export function countProcess(metrics: Metrics): void {
  const startedAt = Date.now() / 1000 - process.uptime();
  metrics.read('process_cpu_seconds_total', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.read('process_start_time_seconds', () => startedAt);
  metrics.read('process_resident_memory_bytes', () => process.memoryUsage.rss());
  // To list the folder would take long with as many as a gateway has.
  if (openFiles() > 0) metrics.read('process_open_fds', openFiles);
  metrics.read('nodejs_heap_size_used_bytes', () => process.memoryUsage().heapUsed);
  metrics.read('nodejs_heap_size_total_bytes', () => process.memoryUsage().heapTotal);
  metrics.read('nodejs_external_memory_bytes', () => process.memoryUsage().external);
  metrics.read('runcast_log_lines_dropped_total', droppedLines);
  metrics.read('nodejs_version_info', () => 1, process.version);
  metrics.read('runcast_build_info', () => 1, VERSION);
}

/** 0 where the system does not say. */
function openFiles(): number {
  return statSync('/proc/self/fd', { throwIfNoEntry: false })?.size ?? 0;
}
