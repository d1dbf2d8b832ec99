/** What a server tells of the models that it serves. */

/** Accuracy measured at one budget. */
export interface AccuracyPoint {
  /** Thinking tokens allowed. */
  budget: number;
  /** Share of problems answered rightly, and its 95% interval. */
  accuracy: number;
  low: number;
  high: number;
  /** Problems tried. */
  n: number;
}

/** How a model thinks, and how well it does at each budget: its `anytime.json`. */
export interface Manifest {
  name: string | null;
  /** How an answer is got at a cut, unless the request says otherwise. */
  forcing: "close" | "force";
  /** Room for an answer, unless the request says otherwise. */
  answer_tokens: number;
  /** Budgets that it was trained or measured at, ascending. */
  budgets: number[];
  /** As measured on held-out problems, budgets ascending. */
  accuracy_curve: AccuracyPoint[];
  /** A handful of prompts that it is good at. */
  examples: string[];
  /** The last stage of its training. */
  trained: "warmstart" | "grpo" | "brpo" | null;
  /** The rest of the file. */
  [field: string]: unknown;
}

/** A model that is served. */
export interface ModelCard {
  id: string;
  /** Tokens of its window; null until it has loaded. */
  max_model_len: number | null;
  anytime: Manifest;
  [field: string]: unknown;
}
