/** The events of a session, typed as on the wire, and `Result`. Knows nothing about the transport. */

/**
 * The reason the thinking stopped. A later version of the server may send another string; `string & {}` instead of
 * `string` keeps the known causes in an editor's completions.
 */
export type Cause =
  | "natural"
  | "budget"
  | "deadline"
  | "client"
  | "stable"
  | "load"
  | "context"
  | "loop"
  | (string & {});

/** The budget in effect. */
export interface ResolvedBudget {
  /** Maximum number of thinking tokens. */
  tokens: number;
  /** Maximum number of tokens over them, to the end of a sentence; absent if there are none. */
  grace?: number;
  /** Milliseconds from the request's arrival until the last token of the answer is due. */
  deadline_ms: number | null;
}

/** The end of the thinking. */
export interface Stop {
  cause: Cause;
  /** The budget in effect when the thinking stopped. */
  budget_tokens: number;
  /** Thinking tokens sampled, including a sampled think-end. */
  thinking_tokens: number;
}

/** Token counts. */
export interface Usage {
  /** Tokens of the prompt, up to the start of the thinking. */
  prompt_tokens: number;
  /** Thinking tokens sampled. */
  thinking_tokens: number;
  /** Tokens inserted at the truncation. */
  inserted_tokens: number;
  /** Tokens of the final answer. */
  answer_tokens: number;
  /** Tokens of all early answers. */
  provisional_tokens: number;
  /** Tokens of the final answer's prompt that the prefix cache had. */
  cached_tokens: number;
}

/** Seconds; all but `cut_to_answer_s` count from the request's arrival at the server. */
export interface Timing {
  /** Until the first token of thinking or answer. */
  time_to_first_token_s: number;
  /** From the end of the thinking to the first token of the answer. */
  cut_to_answer_s: number;
  /** Until the first token of the answer. */
  time_to_answer_s: number;
  /** Until the last token of the answer. */
  total_s: number;
}

/** The first event. */
export interface Started {
  type: "started";
  id: string;
  model: string;
  budget: ResolvedBudget;
  prompt_tokens: number;
}

/** A piece of the thinking. */
export interface Thinking {
  type: "thinking";
  text: string;
  /** Thinking tokens sampled so far. */
  total_tokens: number;
}

/** The start of an answer. */
export interface AnswerStarted {
  type: "answer.started";
  /** Number of the answer within its session. */
  index: number;
  /** Thinking tokens that the answer is based on. */
  at_tokens: number;
  /** Whether this is an early answer, sampled while the thinking goes on. */
  provisional: boolean;
  /** The reason the thinking stopped; null for an early answer. */
  cause: Cause | null;
}

/** A piece of an answer. */
export interface AnswerDelta {
  type: "answer.delta";
  index: number;
  text: string;
}

/** A complete answer. */
export interface Answer {
  index: number;
  /** Thinking tokens that the answer is based on. */
  at_tokens: number;
  /** Whether this is an early answer, sampled while the thinking goes on. */
  provisional: boolean;
  text: string;
  answer_tokens: number;
  /** Mean probability of the answer's tokens, 0 to 1. */
  confidence: number;
  /** `length`: the answer reached its `max_tokens`. */
  finish_reason: "stop" | "length";
}

/** The end of an answer, with the complete text. */
export interface AnswerDone extends Answer {
  type: "answer.done";
}

/** The fields that `Done` and `Result` share. */
export interface Outcome {
  id: string;
  stop: Stop;
  /** Text of the final answer. */
  answer: string;
  usage: Usage;
  timing: Timing;
  /** Token to pass to `think` to resume the thinking. */
  continuation: string | null;
}

/** The last event of a successful session. */
export interface Done extends Outcome {
  type: "done";
}

/** An event type added by a later version of the server. */
export interface UnknownEvent {
  type: "unknown";
  /** The event as received; its own type is in `raw.type`. */
  raw: { readonly type: string; readonly [field: string]: unknown };
}

/** The event types of this version. */
export type KnownEvent = Started | Thinking | AnswerStarted | AnswerDelta | AnswerDone | Done;

/**
 * An event of a stream. `switch (event.type)` narrows the type; event types of later versions have the type
 * `"unknown"`, so that a switch over this version's types stays exhaustive.
 */
export type Event = KnownEvent | UnknownEvent;

/** A whole session: the body of a response with `"stream": false`. */
export interface Result extends Outcome {
  model: string;
  thinking: string;
  /** Ordered by `at_tokens`; the final answer is the last. */
  answers: Answer[];
}
