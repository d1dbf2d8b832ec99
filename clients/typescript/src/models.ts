/** The models that a server lists. */

/** Accuracy measured at one budget. */
export interface AccuracyPoint {
  /** Thinking tokens. */
  budget: number;
  /** Share of problems answered correctly, with its 95% interval `low` to `high`. */
  accuracy: number;
  low: number;
  high: number;
  /** Number of problems. */
  n: number;
}

/** The content of a model's `anytime.json`: its format of thinking, and its accuracy at each budget. */
export interface Manifest {
  name: string | null;
  /** Default of `answer.forcing` in requests. */
  forcing: "close" | "force";
  /** Default of `answer.max_tokens` in requests. */
  answer_tokens: number;
  /** Budgets that the model was trained or measured at, ascending. */
  budgets: number[];
  /** Accuracy on held-out problems, budgets ascending. */
  accuracy_curve: AccuracyPoint[];
  /** Example prompts. */
  examples: string[];
  /** Last stage of the training. */
  trained: "warmstart" | "grpo" | "brpo" | null;
  /** The other fields of the file. */
  [field: string]: unknown;
}

/** A model that the server serves. */
export interface ModelCard {
  id: string;
  /** Tokens of the context window; null while the model is loading. */
  max_model_len: number | null;
  anytime: Manifest;
  [field: string]: unknown;
}
