/**
 * What the primary and its workers say to each other, as JSON over Node's own channel. A message
 * carries our tag, so that an embedder's own messages pass by untouched.
 */

import type { Stats } from '../core/machine.ts';
import type { Refusal } from '../core/errors.ts';
import type { Settled } from '../core/forward.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Sample } from '../core/metrics.ts';
import type { ApiKey, Loss, Purpose } from '../core/run-source.ts';
import type { Trace } from '../core/trace.ts';
import type { Settings } from '../options.ts';

/** Changes with every incompatible change of the messages. */
export const TAG = 'runcast/1';

/** From a worker. `n` numbers its requests; a `watch` is a run that it follows, by number. */
export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'listening'; readonly url: string }
  | { readonly kind: 'failed'; readonly error: string }
  /** It listens again, after it was told to. */
  | { readonly kind: 'accepting' }
  /** It can hardly take more connections, or can again. */
  | { readonly kind: 'room'; readonly hasRoom: boolean }
  | { readonly kind: 'admit'; readonly n: number; readonly runId: string; readonly key: ApiKey;
      readonly purpose: Purpose; readonly trace?: Trace }
  /** The client of admission `n` is gone. */
  | { readonly kind: 'leave'; readonly n: number }
  | { readonly kind: 'poke'; readonly runId: string }
  /** Bodies in base64: a signature is over bytes, whatever they are. */
  | { readonly kind: 'publish'; readonly n: number; readonly runId: string;
      readonly body: string }
  | { readonly kind: 'deliver'; readonly n: number; readonly runId: string;
      readonly timestamp: string; readonly signature: string; readonly body: string }
  /** A place in the budget for a request that it passes on; and what came of that. */
  | { readonly kind: 'enter'; readonly n: number }
  | { readonly kind: 'passed'; readonly n: number; readonly settled?: Settled }
  /** Once a second: all its counts. */
  | { readonly kind: 'samples'; readonly samples: readonly Sample[] }
  | { readonly kind: 'stats' | 'metrics'; readonly n: number };

/** From the primary. */
export type FromPrimary =
  | { readonly kind: 'start'; readonly settings: Settings }
  /** Take connections, or leave them to others. */
  | { readonly kind: 'accept'; readonly isOn: boolean }
  | { readonly kind: 'refused'; readonly n: number; readonly refusal: Refusal }
  /** Without `snapshot` it is the one that was sent last for this watch. */
  | { readonly kind: 'admitted'; readonly n: number; readonly watch: number;
      readonly snapshot?: Snapshot }
  | { readonly kind: 'snapshot'; readonly watch: number; readonly snapshot: Snapshot }
  /** The watch had no clients left; its number is not used again. */
  | { readonly kind: 'ended'; readonly watch: number }
  | { readonly kind: 'lost'; readonly watch: number; readonly key: string; readonly loss: Loss }
  /** What became of something pushed: without `refusal` it was taken. */
  | { readonly kind: 'pushed'; readonly n: number; readonly refusal?: Refusal }
  /** Without `refusal` there is a place, until it is `passed`. */
  | { readonly kind: 'entered'; readonly n: number; readonly refusal?: Refusal }
  | { readonly kind: 'stats'; readonly n: number; readonly stats: Stats }
  | { readonly kind: 'metrics'; readonly n: number; readonly text: string }
  | { readonly kind: 'drain' };

/** One end of a channel between two processes. */
export interface Port<Out, In> {
  /** False: the channel is full; `onSent` tells when this message has left. */
  send(message: Out, onSent?: () => void): boolean;
  onMessage(listener: (message: In) => void): void;
}

/** Where a port's messages really go: a worker as seen by the primary, or the process itself. */
export interface Channel {
  send?(message: unknown, callback: (error: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

/** A port over Node's channel. What is sent to a process that is gone is lost, as it must be. */
export function portOver<Out, In>(channel: Channel, isConnected: () => boolean): Port<Out, In> {
  return {
    send(message, onSent = () => undefined) {
      if (!isConnected() || channel.send === undefined) return true;
      return channel.send({ tag: TAG, message }, () => onSent());
    },
    onMessage(listener) {
      channel.on('message', (envelope) => {
        // Both ends are this very program; the tag is what tells its messages from others.
        if (isEnvelope(envelope)) listener(envelope.message as In);
      });
    },
  };
}

function isEnvelope(value: unknown): value is { tag: string; message: unknown } {
  return typeof value === 'object' && value !== null && 'tag' in value && value.tag === TAG;
}
