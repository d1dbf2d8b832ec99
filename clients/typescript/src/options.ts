/** The options of `think`, named as on the wire, and the request body built from them. */

/** A text part of a message. */
export interface TextPart {
  type: "text";
  text: string;
}

/** A tool call of the assistant. */
export interface ToolCall {
  id: string;
  type?: "function";
  /** `arguments` is a JSON object as text. */
  function: { name: string; arguments: string };
}

/** One turn of the conversation. */
export interface Message {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content?: string | TextPart[] | null | undefined;
  /** Name of the tool; the chat template may show it. */
  name?: string | undefined;
  /** The thinking of an earlier assistant turn; the chat template decides how much of it the model sees. */
  reasoning_content?: string | undefined;
  /** Tool calls of an assistant turn. */
  tool_calls?: ToolCall[] | undefined;
  /** Id of the tool call that this turn is the result of. */
  tool_call_id?: string | undefined;
}

/** Limits of the thinking, which stops at the first one reached. */
export interface Budget {
  /** Maximum number of thinking tokens, exact; 0 answers immediately. */
  tokens?: number | undefined;
  /** The same as a share of the prompt's tokens, or of what `of` names. */
  share?: number | undefined;
  /** The number that `share` is multiplied by: the prompt's tokens (the default), or `answer.max_tokens`. */
  of?: "prompt" | "max_tokens" | undefined;
  /** Maximum number of tokens over the budget, to the end of a sentence. */
  grace?: number | undefined;
  /** Milliseconds from the request's arrival until the last token of the answer is due. */
  deadline_ms?: number | undefined;
}

/** The definition of a repetition loop. */
export interface LoopOptions {
  /** Number of times in a row that a phrase must occur; by default 4. */
  repeats?: number | undefined;
  /** Number of tokens that these must have together; by default 128. */
  min_tokens?: number | undefined;
}

/** Stop the thinking once early answers agree, or at a repetition loop. `stable` needs `every_tokens`. */
export interface StopWhen {
  /** Number of consecutive answers that must agree. */
  stable?: number | undefined;
  /** Thinking tokens between two answers. */
  every_tokens?: number | undefined;
  /** An answer whose confidence is lower agrees with no other. */
  min_confidence?: number | undefined;
  /** Stop at a repetition loop, or never; by default as the server's option `--stop-loops` says. */
  loop?: boolean | LoopOptions | undefined;
}

/** The format of the answer; the thinking is not constrained. */
export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | {
      type: "json_schema";
      json_schema: { schema: Record<string, unknown>; name?: string; description?: string; strict?: boolean };
    };

/** Sampling of one phase. Options left out have the model's own values. */
export interface SamplingOptions {
  /** 0 is greedy. */
  temperature?: number | undefined;
  top_p?: number | undefined;
  /** Number of likeliest tokens to sample from; 0 is all. */
  top_k?: number | undefined;
  /** Minimum probability of a token, relative to the likeliest. */
  min_p?: number | undefined;
  presence_penalty?: number | undefined;
  frequency_penalty?: number | undefined;
  repetition_penalty?: number | undefined;
  /** Added to logits, by token id. */
  logit_bias?: Record<string, number> | undefined;
  /** Token ids that end the phase, in addition to the model's own. */
  stop_token_ids?: readonly number[] | undefined;
  /** Whether the phase goes on after the end of the turn. */
  ignore_eos?: boolean | undefined;
  /** Minimum number of tokens. */
  min_tokens?: number | undefined;
  /** Words that are not sampled; some engines refuse this. */
  bad_words?: readonly string[] | undefined;
}

/** Sampling of the answer. */
export interface AnswerOptions extends SamplingOptions {
  /**
   * Maximum number of answer tokens; room for them is reserved in the context window. Default: all that the
   * window leaves.
   */
  max_tokens?: number | undefined;
  /** False shows special tokens in the text. */
  skip_special_tokens?: boolean | undefined;
  response_format?: ResponseFormat | undefined;
  /** At a truncation, `close` only ends the thinking; `force` also inserts the lead-in of the answer. */
  forcing?: "close" | "force" | undefined;
}

/** Sampling of the thinking. */
export interface ThinkingOptions extends SamplingOptions {
  /** Makes the whole session reproducible. */
  seed?: number | undefined;
}

/** Fields of the request. Fields left out are not sent, and the server's defaults apply. */
export interface RequestFields {
  /** Name of the model; optional if the server has only one. */
  model?: string | undefined;
  /**
   * Thinking tokens, or an object with `tokens`, `share`, `grace` and `deadline_ms`. Default: the server's, or as many
   * as fit the window.
   */
  budget?: number | Budget | undefined;
  /** Give early answers at these numbers of thinking tokens, while the thinking goes on. */
  budgets?: readonly number[] | undefined;
  /** Stop the thinking once early answers, sampled for this purpose, agree. */
  stop_when?: StopWhen | undefined;
  answer?: AnswerOptions | undefined;
  thinking?: ThinkingOptions | undefined;
  /** Token of an earlier `done`: resume its thinking, with `budget` tokens more. */
  continuation?: string | null | undefined;
}

/** Options of `think`. */
export interface ThinkOptions extends RequestFields {
  /** Aborts the session; the stream then throws the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Maximum seconds of the session; overrides the client's `timeoutS`. */
  timeoutS?: number | undefined;
}

/** The body of a request. */
export function requestBody(messages: string | readonly Message[], fields: RequestFields): object {
  return {
    messages: typeof messages === "string" ? [{ role: "user", content: messages }] : messages,
    ...fields,
    stream: true,
  };
}
