/** What a session says, in order: the native wire format, typed. Knows nothing of how it is carried. */

/**
 * Why the thinking stopped; any other string is a later server's. It is not `string` alone, by which an
 * editor would no longer propose these.
 */
export type Cause = "natural" | "budget" | "deadline" | "client" | "stable" | "load" | "context" | (string & {});

/** The budget that applies. */
export interface ResolvedBudget {
  /** The most thinking tokens that may be sampled. */
  tokens: number;
  /** Milliseconds from arrival by which the last answer token is due. */
  deadline_ms: number | null;
}

/** Why the thinking stopped, and when. */
export interface Stop {
  cause: Cause;
  /** Budget that applied, in tokens. */
  budget_tokens: number;
  /** Tokens sampled as thinking, a sampled think-end included. */
  thinking_tokens: number;
}

/** Tokens, counted exactly. */
export interface Usage {
  /** Prompt, with thinking opened. */
  prompt_tokens: number;
  /** Sampled as thinking. */
  thinking_tokens: number;
  /** Put in at the cut. */
  inserted_tokens: number;
  /** Sampled for the answer. */
  answer_tokens: number;
  /** Sampled as provisional answers. */
  provisional_tokens: number;
  /** Of the answer's prompt (prompt, thinking, inserted), found in the prefix cache. */
  cached_tokens: number;
}

/** Seconds; all but `cut_to_answer_s` from the request's arrival. */
export interface Timing {
  /** To the first token sampled, of thinking or answer. */
  time_to_first_token_s: number;
  /** From the end of the thinking to the first token of the answer. */
  cut_to_answer_s: number;
  /** To the first token of the answer. */
  time_to_answer_s: number;
  /** To the last token of the answer. */
  total_s: number;
}

/** The session is under way. */
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

/** An answer begins. */
export interface AnswerStarted {
  type: "answer.started";
  /** Tells the answers of a session apart. */
  index: number;
  /** Thinking tokens that the answer is based on. */
  at_tokens: number;
  /** The thinking goes on beside it. */
  provisional: boolean;
  /** Why the thinking stopped; null for a provisional answer. */
  cause: Cause | null;
}

/** A piece of an answer. */
export interface AnswerDelta {
  type: "answer.delta";
  index: number;
  text: string;
}

/** A whole answer. */
export interface Answer {
  index: number;
  /** Thinking tokens that it is based on. */
  at_tokens: number;
  provisional: boolean;
  text: string;
  answer_tokens: number;
  /** Mean probability of its tokens, 0 to 1. */
  confidence: number;
  /** `length`: cut at the most tokens that an answer may have. */
  finish_reason: "stop" | "length";
}

/** An answer is whole. */
export interface AnswerDone extends Answer {
  type: "answer.done";
}

/** How a session ended. */
export interface Outcome {
  id: string;
  stop: Stop;
  answer: string;
  usage: Usage;
  timing: Timing;
  /** To be sent back for thinking on from there. */
  continuation: string | null;
}

/** The end of a session that went well. */
export interface Done extends Outcome {
  type: "done";
}

/** An event that a later server sends and this version does not know. */
export interface UnknownEvent {
  type: "unknown";
  /** The event as it came; its own type is in `raw.type`. */
  raw: { readonly type: string; readonly [field: string]: unknown };
}

/** The events of this version. */
export type KnownEvent = Started | Thinking | AnswerStarted | AnswerDelta | AnswerDone | Done;

/**
 * What a stream yields. `switch (event.type)` narrows it; events of later versions come as
 * `"unknown"`, so that a switch over this version's types stays exhaustive.
 */
export type Event = KnownEvent | UnknownEvent;

/** The whole of a session, once it has ended well: the body that `"stream": false` gives. */
export interface Result extends Outcome {
  model: string;
  thinking: string;
  /** By the thinking that they are based on; the final one is the last. */
  answers: Answer[];
}
