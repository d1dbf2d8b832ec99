/** What can be asked of a server: names and shapes are the wire's. */

/** A piece of text within a message. */
export interface TextPart {
  type: "text";
  text: string;
}

/** A call that the assistant made. */
export interface ToolCall {
  id: string;
  type?: "function";
  /** `arguments` is the text of a JSON object. */
  function: { name: string; arguments: string };
}

/** One turn of the conversation. */
export interface Message {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content?: string | TextPart[] | null | undefined;
  /** Of a tool, where the chat template shows it. */
  name?: string | undefined;
  /** Earlier thinking of an assistant turn; the chat template decides what of it the model sees. */
  reasoning_content?: string | undefined;
  /** Calls that the assistant made in this turn. */
  tool_calls?: ToolCall[] | undefined;
  /** The call that a tool's turn is the result of. */
  tool_call_id?: string | undefined;
}

/** How long to think; whichever is reached first. */
export interface Budget {
  /** The most thinking tokens; 0 answers at once. */
  tokens?: number | undefined;
  /** Milliseconds from the request's arrival by which the last token of the answer is due. */
  deadline_ms?: number | undefined;
}

/** Stop thinking once provisional answers agree. */
export interface StopWhen {
  /** How many in a row must. */
  stable: number;
  /** Thinking tokens from one to the next. */
  every_tokens: number;
  /** Mean probability of its tokens below which an answer agrees with none. */
  min_confidence?: number | undefined;
}

/** What form the answer must have; the thinking is free. */
export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | {
      type: "json_schema";
      json_schema: { schema: Record<string, unknown>; name?: string; description?: string; strict?: boolean };
    };

/** How the answer is sampled. */
export interface AnswerOptions {
  /** The most tokens of the answer; room for them is kept in the window. */
  max_tokens?: number | undefined;
  temperature?: number | undefined;
  response_format?: ResponseFormat | undefined;
  /** How the model is brought to answer at a cut: `close` the thinking, or `force` its trained lead-in. */
  forcing?: "close" | "force" | undefined;
}

/** How the thinking is sampled. */
export interface ThinkingOptions {
  temperature?: number | undefined;
  top_p?: number | undefined;
  /** Makes the whole request repeatable. */
  seed?: number | undefined;
}

/** Fields of the request; what is not given is not sent, and the server's default holds. */
export interface RequestFields {
  /** Name of the model. */
  model?: string | undefined;
  /** Thinking tokens, or an object with `tokens` and `deadline_ms`. Absent: all that fits. */
  budget?: number | Budget | undefined;
  /** Provisional answers at these numbers of thinking tokens, while the thinking goes on. */
  budgets?: readonly number[] | undefined;
  stop_when?: StopWhen | undefined;
  answer?: AnswerOptions | undefined;
  thinking?: ThinkingOptions | undefined;
  /** From an earlier `done`: think on from there, the budget counted on top. */
  continuation?: string | null | undefined;
}

/** Options of `think`. */
export interface ThinkOptions extends RequestFields {
  /** Aborts the request; the stream then throws the signal's reason. */
  signal?: AbortSignal | undefined;
  /** From the sending of the request to `done`, instead of the client's `timeoutS`. */
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
