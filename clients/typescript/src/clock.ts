/** Time-outs and waits, in seconds. */

/** What timers take at most, in milliseconds; a longer one would fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** Do something later, unless the function that is given back is called before; never after `Infinity`. */
export function after(seconds: number, action: () => void): () => void {
  if (seconds === Infinity) return () => {};
  const timer = setTimeout(action, Math.min(seconds * 1000, LONGEST_MS));
  return () => clearTimeout(timer);
}

/** Wait for a promise, and call `late` once if it takes longer; that is to make it end. */
export async function within<T>(seconds: number, promise: Promise<T>, late: () => void): Promise<T> {
  const stop = after(seconds, late);
  try {
    return await promise;
  } finally {
    stop();
  }
}

/** Wait; throws the signal's reason once it is aborted. */
export async function sleep(seconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const stop = after(seconds, () => {
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
