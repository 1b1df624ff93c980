/**
 * An embedder's own source, held to what the rest of the program relies on: its states keep an
 * event in one piece, and what its watches throw ends nothing but its way into the log.
 */

import { NO_ID, REFUSED_ID } from '../core/event-id.ts';
import { digest } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Logger } from '../core/log.ts';
import type {
  Admission, Admitted, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';

/** What comes back in a `Last-Event-ID` as it was sent, alone and joined with others. */
const ID = /^[\w-]{1,64}$/;
const RESERVED = [NO_ID, REFUSED_ID];

/** Stands in front of `inner`. */
export class GuardedSource implements RunSource {
  readonly #inner: RunSource;
  readonly #log: Logger;

  constructor(inner: RunSource, log: Logger) {
    this.#inner = inner;
    this.#log = log;
  }

  /** May throw or reject as `inner` does: its request is answered with an error then. */
  async admit(...asked: Parameters<RunSource['admit']>): Promise<Admission> {
    const admission = await this.#inner.admit(...asked);
    return admission.kind === 'refused' ? admission
      : { ...admission, snapshot: soundOf(admission.snapshot) };
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const watch = this.#inner.watch(admitted, {
      onSnapshot: (snapshot) => observer.onSnapshot(soundOf(snapshot)),
      onLost: (key, loss) => observer.onLost(key, loss),
    });
    return {
      hold: (also) => this.#try(() => watch.hold(also)),
      release: (key) => this.#try(() => watch.release(key)),
      stop: () => this.#try(() => watch.stop()),
    };
  }

  close(): void {
    this.#try(() => this.#inner.close());
  }

  #try(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error('the source threw', { error: String(error) });
    }
  }
}

/** The very same where nothing is wrong with it. */
function soundOf(snapshot: Snapshot): Snapshot {
  const isWhole = !/[\r\n]/.test(snapshot.data);
  const data = isWhole ? snapshot.data : snapshot.data.replace(/[\r\n]+/g, '');
  const isId = ID.test(snapshot.id) && !RESERVED.includes(snapshot.id);
  return isWhole && isId ? snapshot
    : { ...snapshot, data, id: isId ? snapshot.id : digest(data) };
}
