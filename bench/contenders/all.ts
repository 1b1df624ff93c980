/** Who can be measured, in the order of tables. */

import type { Contender } from '../support/contender.ts';
import { betterSse } from './better-sse.ts';
import { cFloor, nodeFloor, nodeHttp } from './floors.ts';
import { nchan } from './nchan.ts';
import { runcast } from './runcast.ts';

/** runcast in one process, and whoever streams beside it. */
export const CONTENDERS: readonly Contender[] = [
  runcast(), cFloor, nodeFloor, nodeHttp, betterSse, nchan,
];
