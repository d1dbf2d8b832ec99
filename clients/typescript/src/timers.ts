/** Timers and time-outs, in seconds. */

/** Maximum of setTimeout, in milliseconds; a longer timer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Run `action` after some seconds, never if `Infinity`. Returns a function that stops the timer. */
export function startTimer(seconds: number, action: () => void): () => void {
  if (seconds === Infinity) return () => {};
  const timer = setTimeout(action, Math.min(seconds * 1000, MAX_TIMER_MS));
  return () => clearTimeout(timer);
}

/** Await a promise, and call `onTimeout` if it takes longer; `onTimeout` must make the promise settle. */
export async function withTimeout<T>(promise: Promise<T>, seconds: number, onTimeout: () => void): Promise<T> {
  const stop = startTimer(seconds, onTimeout);
  try {
    return await promise;
  } finally {
    stop();
  }
}

/** Wait; throws the signal's reason if it is aborted meanwhile. */
export async function sleep(seconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const stop = startTimer(seconds, () => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
    const abort = () => {
      stop();
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
  });
}
