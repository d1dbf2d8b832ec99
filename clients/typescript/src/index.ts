/** The public names. */

export { Client, type ClientOptions } from "./client.ts";
export {
  ClientError,
  RequestRefused,
  ServerUnreachable,
  SessionFailed,
  StreamInterrupted,
  TimedOut,
} from "./errors.ts";
export type * from "./events.ts";
export type { AccuracyPoint, Manifest, ModelCard } from "./models.ts";
export type * from "./options.ts";
export type { Stream } from "./stream.ts";
