/**
 * A browser opens six connections to a host, for all of its tabs together, and a seventh tab
 * could not even load the page. So a tab that nobody looks at lets go of its connection once
 * another tab of this page is looked at; alone it keeps it, however long it is hidden.
 */

/** The tab that is left may hear of the other one before it knows that it is hidden. */
const SAME_MOMENT_MS = 2_000;

/** Calls `rest` with true when this tab is to let go, with false when it is looked at again. */
export function takeTurns(rest: (isResting: boolean) => void): void {
  const channel = new BroadcastChannel('runcast');
  let heardAtMs = -Infinity;
  const announce = (): void => {
    rest(false);
    channel.postMessage('looked at');
  };
  channel.addEventListener('message', () => {
    heardAtMs = performance.now();
    if (document.hidden) rest(true);
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) announce();
    else if (performance.now() - heardAtMs < SAME_MOMENT_MS) rest(true);
  });
  // A page that is left is kept for a minute, for the case that its user comes back.
  addEventListener('pagehide', () => rest(true));
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted && !document.hidden) announce();
  });
  // Opened behind another tab: there is time until it is looked at.
  if (document.hidden) rest(true);
  else announce();
}
