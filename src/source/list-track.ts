/** What the list has said of a run that is followed: nothing yet. */
export class ListTrack {
  /** Of the summary; undefined: it is not shown. */
  digest: string | undefined;
  /** By the list: the run itself may say so a moment later. */
  isOver = false;
  /** When the list said something new of it, before which nothing that was asked for counts. */
  newsAt = -Infinity;
  /** A whole reading has not shown it: it is not searched for on later pages. */
  isHidden = false;
  /** The cycle that was the first not to show it any more. */
  missedIn: number | undefined;
  /** Its own answer was a refusal, which has to last. */
  isDoubted = false;
}
