// Generated from clients/typescript by `npm run build`; do not edit. Apache-2.0.

// errors.js
var ClientError = class extends Error {
  name = "ClientError";
};
var ServerUnreachable = class extends ClientError {
  name = "ServerUnreachable";
  /** No connection was made, so the request cannot have been sent. */
  neverConnected;
  constructor(message, options = {}) {
    super(message, options);
    this.neverConnected = options.neverConnected ?? false;
  }
};
var RequestRefused = class extends ClientError {
  name = "RequestRefused";
  status;
  code;
  field;
  requestId;
  retryAfterS;
  constructor({ status, code, message, field, requestId, retryAfterS }) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }
};
var SessionFailed = class extends ClientError {
  name = "SessionFailed";
  code;
  field;
  constructor({ code, message, field }) {
    super(message);
    this.code = code;
    this.field = field;
  }
};
var NOTHING = { id: null, thinking: "", answers: [] };
var StreamInterrupted = class extends ClientError {
  name = "StreamInterrupted";
  id;
  thinking;
  answers;
  constructor(message, received = NOTHING, options) {
    super(message, options);
    this.id = received.id;
    this.thinking = received.thinking;
    this.answers = [...received.answers];
  }
};
var TimedOut = class extends ClientError {
  name = "TimedOut";
};
function errorDetail(body) {
  const { error } = Object(body);
  const { code, message, field } = Object(error);
  if (typeof message !== "string")
    return null;
  return {
    code: typeof code === "string" ? code : null,
    message,
    field: typeof field === "string" ? field : null
  };
}

// retry.js
var RETRIED_STATUSES = [429, 503];
var INITIAL_BACKOFF_S = 0.25;
var MAX_BACKOFF_S = 8;
var MAX_RETRY_AFTER_S = 60;
function retryDelayS(error, attempt) {
  if (error instanceof ServerUnreachable && error.neverConnected)
    return backoffS(attempt);
  if (!(error instanceof RequestRefused && RETRIED_STATUSES.includes(error.status)))
    return null;
  if (error.retryAfterS === null)
    return backoffS(attempt);
  return error.retryAfterS <= MAX_RETRY_AFTER_S ? error.retryAfterS : null;
}
function backoffS(attempt) {
  return Math.min(INITIAL_BACKOFF_S * 2 ** attempt, MAX_BACKOFF_S) * (0.5 + Math.random() / 2);
}
function parseRetryAfter(header) {
  if (header === null)
    return null;
  if (/^\d+$/.test(header))
    return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1e3);
}

// timers.js
var MAX_TIMER_MS = 2 ** 31 - 1;
function startTimer(seconds, action) {
  if (seconds === Infinity)
    return () => {
    };
  const timer = setTimeout(action, Math.min(seconds * 1e3, MAX_TIMER_MS));
  return () => clearTimeout(timer);
}
async function withTimeout(promise, seconds, onTimeout) {
  const stop = startTimer(seconds, onTimeout);
  try {
    return await promise;
  } finally {
    stop();
  }
}
async function sleep(seconds, signal) {
  signal.throwIfAborted();
  await new Promise((resolve, reject) => {
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

// http.js
var NEVER_CONNECTED = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT"
];
var MAX_BODY_BYTES = 2 ** 24;
var Http = class {
  /** Address of the server, without a slash at the end. */
  url;
  silenceTimeoutS;
  #headers;
  #fetch;
  #maxRetries;
  constructor({ url, headers, fetch, silenceTimeoutS, maxRetries }) {
    this.url = baseUrl(url);
    this.silenceTimeoutS = silenceTimeoutS;
    this.#headers = headers;
    this.#fetch = fetch;
    this.#maxRetries = maxRetries;
  }
  /**
   * Send a request, with retries. Returns the successful response, its body unread.
   *
   * @param aborter aborts the request and the reading of its body, which then throw its reason.
   * @param timeoutS after which the caller aborts; a retry that would start later is not made.
   */
  async send(method, path, body, aborter, timeoutS = Infinity) {
    const endMs = performance.now() + timeoutS * 1e3;
    for (let attempt = 0; ; attempt++) {
      try {
        return await withTimeout(this.#attempt(method, path, body, aborter.signal), this.silenceTimeoutS, () => aborter.abort(new StreamInterrupted(`no response from ${this.url} within ${this.silenceTimeoutS} s`)));
      } catch (error) {
        const delayS = attempt < this.#maxRetries ? retryDelayS(error, attempt) : null;
        if (delayS === null || performance.now() + delayS * 1e3 >= endMs)
          throw error;
        await sleep(delayS, aborter.signal);
      }
    }
  }
  /** Send a request and parse its JSON response; undefined if the body is empty. */
  async json(method, path, body = null) {
    const aborter = new AbortController();
    const response = await this.send(method, path, body, aborter);
    const onError = (error) => {
      aborter.signal.throwIfAborted();
      throw brokenConnection(this.url, error);
    };
    const text = await withTimeout(readText(response).catch(onError), this.silenceTimeoutS, () => aborter.abort(new StreamInterrupted(`${this.url} stopped in the middle of its response`)));
    if (text === "")
      return void 0;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new ClientError(`${this.url} answered ${method} ${path} with invalid JSON`, { cause: error });
    }
  }
  async #attempt(method, path, body, signal) {
    signal.throwIfAborted();
    const fetch = this.#fetch;
    const headers = new Headers(this.#headers);
    if (body !== null)
      headers.set("Content-Type", "application/json");
    let response;
    try {
      response = await fetch(this.url + path, {
        method,
        headers,
        body: body === null ? null : JSON.stringify(body),
        redirect: "manual",
        // another address must get neither the prompt nor the headers, with their keys
        signal
      });
    } catch (error) {
      signal.throwIfAborted();
      throw fetchError(this.url, error);
    }
    if (!response.ok)
      throw await requestRefused(response);
    return response;
  }
};
function baseUrl(url) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw new ServerUnreachable(`"${url}" is not a valid address`, { cause: error, neverConnected: true });
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    const message = `"${url}" is not a valid address: it must begin with http:// or https://`;
    throw new ServerUnreachable(message, { neverConnected: true });
  }
  return parsed.origin + parsed.pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
}
function brokenConnection(url, error) {
  return new StreamInterrupted(`the connection to ${url} broke`, void 0, { cause: error });
}
function fetchError(url, error) {
  const { cause } = Object(error);
  const { code } = Object(cause);
  const neverConnected = NEVER_CONNECTED.includes(code);
  if (code !== void 0 && !neverConnected)
    return brokenConnection(url, error);
  return new ServerUnreachable(`no server answers at ${url}`, { cause: error, neverConnected });
}
async function requestRefused(response) {
  const text = await readText(response).catch(() => "");
  return new RequestRefused({
    ...errorDetail(parseJson(text)) ?? { code: null, message: `HTTP ${response.status}`, field: null },
    status: response.status,
    requestId: response.headers.get("X-Request-Id"),
    retryAfterS: parseRetryAfter(response.headers.get("Retry-After"))
  });
}
async function readText(response) {
  const utf8 = new TextDecoder();
  let text = "";
  let numBytes = 0;
  const reader = response.body?.getReader();
  while (reader && numBytes < MAX_BODY_BYTES) {
    const { done, value } = await reader.read();
    if (done)
      return text + utf8.decode();
    text += utf8.decode(value, { stream: true });
    numBytes += value.length;
  }
  await reader?.cancel();
  return text;
}
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// options.js
function requestBody(messages, fields) {
  return {
    messages: typeof messages === "string" ? [{ role: "user", content: messages }] : messages,
    ...fields,
    stream: true
  };
}

// sse.js
var MAX_EVENT_LENGTH = 2 ** 24;
var LINE_OVERHEAD = 64;
var Decoder = class {
  #utf8 = new TextDecoder();
  #endedInCR = false;
  #line = "";
  #event = "";
  #data = [];
  #dataLength = 0;
  /**
   * The events that the chunk completes.
   *
   * @throws RangeError if the server sends an event without an end.
   */
  decode(chunk) {
    let text = this.#utf8.decode(chunk, { stream: true });
    if (text === "")
      return [];
    if (this.#endedInCR && text.startsWith("\n"))
      text = text.slice(1);
    this.#endedInCR = text.endsWith("\r");
    const parts = text.split(/\r\n|\n|\r/);
    const rest = parts.pop() ?? "";
    const events = [];
    for (const part of parts) {
      const event = this.#processLine(this.#line + part);
      this.#line = "";
      if (event)
        events.push(event);
    }
    this.#line += rest;
    if (this.#line.length + this.#dataLength > MAX_EVENT_LENGTH) {
      throw new RangeError(`an event of more than ${MAX_EVENT_LENGTH} characters`);
    }
    return events;
  }
  #processLine(line) {
    if (line === "")
      return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event")
      this.#event = value;
    else if (field === "data") {
      this.#data.push(value);
      this.#dataLength += value.length + LINE_OVERHEAD;
    }
    return null;
  }
  #dispatch() {
    const event = this.#data.length > 0 && { event: this.#event || "message", data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    this.#dataLength = 0;
    return event || null;
  }
};

// stream-state.js
var REQUIRED_FIELDS = {
  started: { id: "string", model: "string", budget: "object", prompt_tokens: "number" },
  thinking: { text: "string", total_tokens: "number" },
  "answer.started": { index: "number", at_tokens: "number", provisional: "boolean" },
  "answer.delta": { index: "number", text: "string" },
  "answer.done": {
    index: "number",
    at_tokens: "number",
    provisional: "boolean",
    text: "string",
    answer_tokens: "number",
    confidence: "number",
    finish_reason: "string"
  },
  done: { id: "string", stop: "object", answer: "string", usage: "object", timing: "object" }
};
var StreamState = class {
  started = null;
  thinking = "";
  /** In the order received. */
  answers = [];
  /** Null until the session has ended successfully. */
  result = null;
  #decoder = new Decoder();
  /**
   * The events that the chunk completes, up to `done`. Each is recorded before it is yielded.
   *
   * @throws SessionFailed at an `error` event, StreamInterrupted at anything that is not an event of a session.
   */
  *feed(chunk) {
    for (const sseEvent of this.#decode(chunk)) {
      const event = this.#parse(sseEvent);
      this.#record(event);
      yield event;
      if (event.type === "done")
        return;
    }
  }
  /** The error to throw for a stream without a terminal event; it carries what has been received. */
  interrupted(message, options) {
    const { started, thinking, answers } = this;
    return new StreamInterrupted(message, { id: started?.id ?? null, thinking, answers }, options);
  }
  #decode(chunk) {
    try {
      return this.#decoder.decode(chunk);
    } catch (error) {
      throw this.interrupted(`the server sent ${error.message}`, { cause: error });
    }
  }
  #parse({ data }) {
    const raw = this.#parseObject(data);
    if (raw.type === "error") {
      const detail = errorDetail(raw);
      if (detail)
        throw new SessionFailed(detail);
    } else if (!Object.hasOwn(REQUIRED_FIELDS, raw.type)) {
      return { type: "unknown", raw };
    } else if (hasFields(raw, REQUIRED_FIELDS[raw.type])) {
      return raw;
    }
    throw this.#invalidEvent(data);
  }
  #parseObject(data) {
    let value;
    try {
      value = JSON.parse(data);
    } catch (error) {
      throw this.#invalidEvent(data, { cause: error });
    }
    const object = Object(value);
    if (typeof object.type !== "string")
      throw this.#invalidEvent(data);
    return object;
  }
  #invalidEvent(data, options) {
    return this.interrupted(`the server sent an invalid event: ${JSON.stringify(data.slice(0, 200))}`, options);
  }
  #record(event) {
    if (event.type === "started")
      this.started = event;
    else if (event.type === "thinking")
      this.thinking += event.text;
    else if (event.type === "answer.done")
      this.answers.push(event);
    else if (event.type === "done")
      this.result = this.#result(event);
  }
  #result(done) {
    if (!this.started)
      throw this.interrupted("the server sent `done` before `started`");
    const { type: _, ...outcome } = done;
    const answers = this.answers.map(({ type: _2, ...answer }) => answer);
    answers.sort((a, b) => Number(b.provisional) - Number(a.provisional) || a.at_tokens - b.at_tokens);
    return { ...outcome, model: this.started.model, thinking: this.thinking, answers };
  }
};
function hasFields(raw, fields) {
  return Object.entries(fields).every(([name, type]) => {
    const value = raw[name];
    return typeof value === type && value !== null;
  });
}

// stream.js
var asyncDispose = Symbol.asyncDispose ?? /* @__PURE__ */ Symbol.for("Symbol.asyncDispose");
var Stream = class _Stream {
  static {
    _Stream.prototype[asyncDispose] = async function() {
      this.close();
    };
  }
  #init;
  #state = new StreamState();
  #aborter = new AbortController();
  #events;
  #stopTimers = () => {
  };
  /** Closed or cancelled by the caller: the broken read that follows is not an error. */
  #closed = false;
  #failure = null;
  constructor(init) {
    this.#init = init;
    this.#events = this.#read();
  }
  /** Id of the session; null until `started` has been received. */
  get id() {
    return this.#state.started?.id ?? null;
  }
  /** The thinking received so far. */
  get thinking() {
    return this.#state.thinking;
  }
  /** The complete answers received so far, in the order received. */
  get answers() {
    return this.#state.answers;
  }
  [Symbol.asyncIterator]() {
    return this.#events;
  }
  /** Read the stream to its end and return the whole session. Throws as the iteration does, and if it was closed. */
  async result() {
    for await (const _ of this.#events)
      ;
    if (this.#failure)
      throw this.#failure.reason;
    if (!this.#state.result)
      throw this.#state.interrupted("the stream was closed before the answer was done");
    return this.#state.result;
  }
  /** Stop the thinking; false if the session is answering already or has ended. */
  async answerNow() {
    return this.#init.controls.answerNow(this.#startedId());
  }
  /** Raise the budget by `tokens`, at most to what fits the context window; returns the new budget. */
  async extend(tokens) {
    return this.#init.controls.extend(this.#startedId(), tokens);
  }
  /** Cancel the session. The iteration ends without an error. */
  async cancel() {
    const id = this.#startedId();
    this.#closed = true;
    try {
      await this.#init.controls.cancel(id);
    } finally {
      this.#disconnect();
    }
  }
  /** Close the connection; the server cancels the session. The iteration ends without an error. */
  close() {
    this.#closed = true;
    this.#disconnect();
  }
  #startedId() {
    if (this.id === null)
      throw new Error("the session has not started");
    return this.id;
  }
  async *#read() {
    const { signal } = this.#aborter;
    try {
      this.#startTimers();
      for await (const chunk of this.#chunks()) {
        for (const event of this.#state.feed(chunk)) {
          if (event.type === "done")
            this.#disconnect();
          yield event;
          if (event.type === "done")
            return;
          signal.throwIfAborted();
        }
      }
      throw this.#state.interrupted("the stream ended before the answer was done");
    } catch (error) {
      if (this.#closed)
        return;
      this.#failure = { reason: signal.aborted ? signal.reason : error };
      throw this.#failure.reason;
    } finally {
      this.#disconnect();
    }
  }
  async *#chunks() {
    const { http, body, timeoutS } = this.#init;
    const response = await http.send("POST", "/v1/anytime", body, this.#aborter, timeoutS);
    const contentType = response.headers.get("Content-Type") ?? "";
    if (!response.body || !contentType.startsWith("text/event-stream")) {
      throw this.#state.interrupted(`${http.url} answered with "${contentType}", not with an event stream`);
    }
    const reader = response.body.getReader();
    const onSilence = () => this.#aborter.abort(this.#state.interrupted(`${http.url} has been silent for ${http.silenceTimeoutS} s`));
    for (; ; ) {
      const read = reader.read().catch((error) => {
        throw this.#state.interrupted(`the connection to ${http.url} broke`, { cause: error });
      });
      const { done, value } = await withTimeout(read, http.silenceTimeoutS, onSilence);
      if (done)
        return;
      yield value;
    }
  }
  /** Abort at the caller's signal or time-out, until `#stopTimers`. */
  #startTimers() {
    const { signal, timeoutS } = this.#init;
    const abort = () => this.#aborter.abort(signal?.reason);
    if (signal?.aborted)
      abort();
    signal?.addEventListener("abort", abort);
    const stop = startTimer(timeoutS, () => this.#aborter.abort(new TimedOut(`not done within ${timeoutS} s`)));
    this.#stopTimers = () => {
      stop();
      signal?.removeEventListener("abort", abort);
    };
  }
  #disconnect() {
    this.#stopTimers();
    this.#aborter.abort();
  }
};

// client.js
var Client = class {
  #http;
  #timeoutS;
  /**
   * @param url address of the server; may end in `/v1`, as for OpenAI's SDKs.
   * @throws ServerUnreachable if `url` is not a valid address.
   */
  constructor(url = "http://127.0.0.1:8000", options = {}) {
    const { apiKey, headers, silenceTimeoutS = 60, timeoutS = Infinity, maxRetries = 2, fetch } = options;
    this.#timeoutS = timeoutS;
    this.#http = new Http({
      url,
      headers: buildHeaders(apiKey, headers),
      fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
      silenceTimeoutS,
      maxRetries
    });
  }
  /**
   * Start a session. The request is sent when the stream is first read.
   *
   * @param messages the text of a user message, or a conversation.
   */
  think(messages, options = {}) {
    const { signal, timeoutS = this.#timeoutS, ...fields } = options;
    return new Stream({
      http: this.#http,
      controls: this,
      body: requestBody(messages, fields),
      signal,
      timeoutS
    });
  }
  /** Stop the thinking of a session; false if the session is answering already or has ended. */
  async answerNow(id) {
    return succeedsUnless([404, 409], this.#http.json("POST", `${sessionPath(id)}/answer`));
  }
  /** Raise the budget of a session by `tokens`; returns the new budget. */
  async extend(id, tokens) {
    const { budget_tokens } = Object(await this.#http.json("POST", `${sessionPath(id)}/extend`, { tokens }));
    if (typeof budget_tokens !== "number")
      throw new ClientError("the server did not return the new budget");
    return budget_tokens;
  }
  /** Cancel a session; no error if it has ended already. */
  async cancel(id) {
    await succeedsUnless([404], this.#http.json("DELETE", sessionPath(id)));
  }
  /** The models that the server serves. */
  async models() {
    const { data } = Object(await this.#http.json("GET", "/v1/models"));
    if (!Array.isArray(data))
      throw new ClientError("the server did not return its models");
    return data;
  }
};
function buildHeaders(apiKey, extra = {}) {
  const headers = new Headers(extra);
  if (apiKey !== void 0 && !headers.has("Authorization"))
    headers.set("Authorization", `Bearer ${apiKey}`);
  return headers;
}
function sessionPath(id) {
  return `/v1/anytime/${encodeURIComponent(id)}`;
}
async function succeedsUnless(statuses, request) {
  try {
    await request;
    return true;
  } catch (error) {
    if (error instanceof RequestRefused && statuses.includes(error.status))
      return false;
    throw error;
  }
}
export {
  Client,
  ClientError,
  RequestRefused,
  ServerUnreachable,
  SessionFailed,
  StreamInterrupted,
  TimedOut
};
