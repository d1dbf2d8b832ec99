// Generated from clients/typescript by `npm run build`; change that instead. Apache-2.0.

// errors.js
var ClientError = class extends Error {
  name = "ClientError";
};
var ServerUnreachable = class extends ClientError {
  name = "ServerUnreachable";
  /** The request cannot have been sent: no connection was made. */
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
  constructor(message, soFar = NOTHING, options) {
    super(message, options);
    this.id = soFar.id;
    this.thinking = soFar.thinking;
    this.answers = [...soFar.answers];
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

// clock.js
var LONGEST_MS = 2 ** 31 - 1;
function after(seconds, action) {
  if (seconds === Infinity)
    return () => {
    };
  const timer = setTimeout(action, Math.min(seconds * 1e3, LONGEST_MS));
  return () => clearTimeout(timer);
}
async function within(seconds, promise, late) {
  const stop = after(seconds, late);
  try {
    return await promise;
  } finally {
    stop();
  }
}
async function sleep(seconds, signal) {
  signal.throwIfAborted();
  await new Promise((resolve, reject) => {
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

// retrying.js
var RETRIED_STATUSES = [429, 503];
var FIRST_WAIT_S = 0.25;
var LONGEST_BACK_OFF_S = 8;
var LONGEST_RETRY_AFTER_S = 60;
function retryWaitS(error, attempt) {
  if (error instanceof ServerUnreachable && error.neverConnected)
    return backOffS(attempt);
  if (!(error instanceof RequestRefused && RETRIED_STATUSES.includes(error.status)))
    return null;
  if (error.retryAfterS === null)
    return backOffS(attempt);
  return error.retryAfterS <= LONGEST_RETRY_AFTER_S ? error.retryAfterS : null;
}
function backOffS(attempt) {
  return Math.min(FIRST_WAIT_S * 2 ** attempt, LONGEST_BACK_OFF_S) * (0.5 + Math.random() / 2);
}
function parseRetryAfter(header) {
  if (header === null)
    return null;
  if (/^\d+$/.test(header))
    return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1e3);
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
var Http = class {
  /** Of the server, without a slash at its end. */
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
   * A successful response, whose body is still to be read.
   *
   * @param aborter aborts the request and the reading of its body; its reason is what is thrown then.
   * @param timeoutS after which the caller aborts; a try that would come later is not waited for.
   */
  async send(method, path, body, aborter, timeoutS = Infinity) {
    const endMs = performance.now() + timeoutS * 1e3;
    for (let attempt = 0; ; attempt++) {
      try {
        return await within(this.silenceTimeoutS, this.#attempt(method, path, body, aborter.signal), () => aborter.abort(new StreamInterrupted(`no answer from ${this.url} within ${this.silenceTimeoutS} s`)));
      } catch (error) {
        const waitS = attempt < this.#maxRetries ? retryWaitS(error, attempt) : null;
        if (waitS === null || performance.now() + waitS * 1e3 >= endMs)
          throw error;
        await sleep(waitS, aborter.signal);
      }
    }
  }
  /** The JSON of a response, undefined if it has no body. */
  async json(method, path, body = null) {
    const aborter = new AbortController();
    const response = await this.send(method, path, body, aborter);
    const broke = (error) => {
      aborter.signal.throwIfAborted();
      throw broken(this.url, error);
    };
    const text = await within(this.silenceTimeoutS, response.text().catch(broke), () => aborter.abort(new StreamInterrupted(`${this.url} stopped in the middle of its answer`)));
    if (text === "")
      return void 0;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new ClientError(`${this.url} answered ${method} ${path} with what is not JSON`, { cause: error });
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
        signal
      });
    } catch (error) {
      signal.throwIfAborted();
      throw failure(this.url, error);
    }
    if (!response.ok)
      throw await refusal(response);
    return response;
  }
};
function baseUrl(url) {
  let parsed2;
  try {
    parsed2 = new URL(url);
  } catch (error) {
    throw new ServerUnreachable(`"${url}" is no address`, { cause: error, neverConnected: true });
  }
  if (parsed2.protocol !== "http:" && parsed2.protocol !== "https:") {
    const message = `"${url}" is no address: it must begin with http:// or https://`;
    throw new ServerUnreachable(message, { neverConnected: true });
  }
  return parsed2.origin + parsed2.pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
}
function broken(url, error) {
  return new StreamInterrupted(`the connection to ${url} broke`, void 0, { cause: error });
}
function failure(url, error) {
  const { cause } = Object(error);
  const { code } = Object(cause);
  const neverConnected = NEVER_CONNECTED.includes(code);
  if (code !== void 0 && !neverConnected)
    return broken(url, error);
  return new ServerUnreachable(`no server answers at ${url}`, { cause: error, neverConnected });
}
async function refusal(response) {
  const text = await response.text().catch(() => "");
  return new RequestRefused({
    ...errorDetail(parsed(text)) ?? { code: null, message: `HTTP ${response.status}`, field: null },
    status: response.status,
    requestId: response.headers.get("X-Request-Id"),
    retryAfterS: parseRetryAfter(response.headers.get("Retry-After"))
  });
}
function parsed(text) {
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

// decoder.js
var Decoder = class {
  #utf8 = new TextDecoder();
  #endedInCR = false;
  #line = "";
  #event = "";
  #data = [];
  /** The events that these bytes complete. An event without the blank line at its end never comes out. */
  decode(bytes) {
    let text = this.#utf8.decode(bytes, { stream: true });
    if (text === "")
      return [];
    if (this.#endedInCR && text.startsWith("\n"))
      text = text.slice(1);
    this.#endedInCR = text.endsWith("\r");
    const pieces = text.split(/\r\n|\n|\r/);
    const rest = pieces.pop() ?? "";
    const messages = [];
    for (const piece of pieces) {
      const message = this.#take(this.#line + piece);
      this.#line = "";
      if (message)
        messages.push(message);
    }
    this.#line += rest;
    return messages;
  }
  #take(line) {
    if (line === "")
      return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event")
      this.#event = value;
    else if (field === "data")
      this.#data.push(value);
    return null;
  }
  #dispatch() {
    const message = this.#data.length > 0 && { event: this.#event || "message", data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    return message || null;
  }
};

// reception.js
var FIELDS = {
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
var Reception = class {
  started = null;
  thinking = "";
  /** In the order of coming. */
  answers = [];
  /** There once the session has ended well. */
  result = null;
  #decoder = new Decoder();
  /**
   * The events that these bytes complete, none after `done`.
   *
   * @throws SessionFailed at an `error` event, StreamInterrupted at what is no event.
   */
  *receive(bytes) {
    for (const message of this.#decoder.decode(bytes)) {
      const event = this.#event(message);
      this.#note(event);
      yield event;
      if (event.type === "done")
        return;
    }
  }
  /** An error that carries what has come. */
  interrupted(message, options) {
    const { started, thinking, answers } = this;
    return new StreamInterrupted(message, { id: started?.id ?? null, thinking, answers }, options);
  }
  #event({ data }) {
    const raw = this.#object(data);
    if (raw.type === "error") {
      const detail = errorDetail(raw);
      if (detail)
        throw new SessionFailed(detail);
    } else if (!Object.hasOwn(FIELDS, raw.type)) {
      return { type: "unknown", raw };
    } else if (hasFields(raw, FIELDS[raw.type])) {
      return raw;
    }
    throw this.#noEvent(data);
  }
  #object(data) {
    let value;
    try {
      value = JSON.parse(data);
    } catch (error) {
      throw this.#noEvent(data, { cause: error });
    }
    const object = Object(value);
    if (typeof object.type !== "string")
      throw this.#noEvent(data);
    return object;
  }
  #noEvent(data, options) {
    return this.interrupted(`the server sent what is no event: ${JSON.stringify(data.slice(0, 200))}`, options);
  }
  #note(event) {
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
      throw this.interrupted("the server said that a session was done which had not started");
    const { type: _, ...outcome } = done;
    const answers = this.answers.map(({ type: _2, ...answer }) => answer);
    answers.sort((a, b) => Number(b.provisional) - Number(a.provisional) || a.at_tokens - b.at_tokens);
    return { ...outcome, model: this.started.model, thinking: this.thinking, answers };
  }
};
function hasFields(raw, fields) {
  return Object.entries(fields).every(([name, kind]) => {
    const value = raw[name];
    return typeof value === kind && value !== null;
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
  #parts;
  #reception = new Reception();
  #aborter = new AbortController();
  #events;
  #disarm = () => {
  };
  /** By one's own wish: that the stream ends is then no error. */
  #left = false;
  #failure = null;
  constructor(parts) {
    this.#parts = parts;
    this.#events = this.#read();
  }
  /** Names the session; null until `started` has come. */
  get id() {
    return this.#reception.started?.id ?? null;
  }
  /** The thinking that has come so far. */
  get thinking() {
    return this.#reception.thinking;
  }
  /** The whole answers that have come so far, in this order. */
  get answers() {
    return this.#reception.answers;
  }
  [Symbol.asyncIterator]() {
    return this.#events;
  }
  /** Read to the end. Throws what the iteration would; also when it was left before the end. */
  async result() {
    for await (const _ of this.#events)
      ;
    if (this.#failure)
      throw this.#failure.reason;
    if (!this.#reception.result)
      throw this.#reception.interrupted("the stream was left before the answer was done");
    return this.#reception.result;
  }
  /** Stop thinking and answer from what there is; false if it was answering already or had ended. */
  async answerNow() {
    return this.#parts.controls.answerNow(this.#startedId());
  }
  /** Let it think for so many tokens more; gives the new budget, no more than the window has room for. */
  async extend(tokens) {
    return this.#parts.controls.extend(this.#startedId(), tokens);
  }
  /** Cancel the session. The iteration just ends. */
  async cancel() {
    const id = this.#startedId();
    this.#left = true;
    try {
      await this.#parts.controls.cancel(id);
    } finally {
      this.#disconnect();
    }
  }
  /** Drop the connection, by which the server cancels. The iteration just ends. */
  close() {
    this.#left = true;
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
      this.#arm();
      for await (const bytes of this.#bytes()) {
        for (const event of this.#reception.receive(bytes)) {
          if (event.type === "done")
            this.#disconnect();
          yield event;
          if (event.type === "done")
            return;
          signal.throwIfAborted();
        }
      }
      throw this.#reception.interrupted("the stream ended before the answer was done");
    } catch (error) {
      if (this.#left)
        return;
      this.#failure = { reason: signal.aborted ? signal.reason : error };
      throw this.#failure.reason;
    } finally {
      this.#disconnect();
    }
  }
  async *#bytes() {
    const { http, body, timeoutS } = this.#parts;
    const response = await http.send("POST", "/v1/anytime", body, this.#aborter, timeoutS);
    const kind = response.headers.get("Content-Type") ?? "";
    if (!response.body || !kind.startsWith("text/event-stream")) {
      throw this.#reception.interrupted(`${http.url} answered with "${kind}", which is no stream of events`);
    }
    const reader = response.body.getReader();
    const silent = () => this.#aborter.abort(this.#reception.interrupted(`nothing came from ${http.url} for ${http.silenceTimeoutS} s`));
    for (; ; ) {
      const read = reader.read().catch((error) => {
        throw this.#reception.interrupted(`the connection to ${http.url} broke`, { cause: error });
      });
      const { done, value } = await within(http.silenceTimeoutS, read, silent);
      if (done)
        return;
      yield value;
    }
  }
  /** Let the caller's signal and the total time-out abort; until `#disarm`. */
  #arm() {
    const { signal, timeoutS } = this.#parts;
    const abort = () => this.#aborter.abort(signal?.reason);
    if (signal?.aborted)
      abort();
    signal?.addEventListener("abort", abort);
    const stop = after(timeoutS, () => this.#aborter.abort(new TimedOut(`not done within ${timeoutS} s`)));
    this.#disarm = () => {
      stop();
      signal?.removeEventListener("abort", abort);
    };
  }
  #disconnect() {
    this.#disarm();
    this.#aborter.abort();
  }
};

// client.js
var Client = class {
  #http;
  #timeoutS;
  /**
   * @param url of the server; a `/` or `/v1` at its end may be there.
   * @throws ServerUnreachable if `url` is none.
   */
  constructor(url = "http://127.0.0.1:8000", options = {}) {
    const { apiKey, headers, silenceTimeoutS = 60, timeoutS = Infinity, maxRetries = 2, fetch } = options;
    this.#timeoutS = timeoutS;
    this.#http = new Http({
      url,
      headers: allHeaders(apiKey, headers),
      fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
      silenceTimeoutS,
      maxRetries
    });
  }
  /**
   * Ask. Nothing is sent before the stream is read.
   *
   * @param messages the conversation, or the text of one user's message.
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
  /** Let a session answer now; false if it was answering already, or is not under way. */
  async answerNow(id) {
    return unless([404, 409], this.#http.json("POST", `${sessionPath(id)}/answer`));
  }
  /** Let a session think for so many tokens more; gives its new budget in tokens. */
  async extend(id, tokens) {
    const { budget_tokens } = Object(await this.#http.json("POST", `${sessionPath(id)}/extend`, { tokens }));
    if (typeof budget_tokens !== "number")
      throw new ClientError("the server did not tell the new budget");
    return budget_tokens;
  }
  /** Cancel a session, if it is under way. */
  async cancel(id) {
    await unless([404], this.#http.json("DELETE", sessionPath(id)));
  }
  /** The models that are served. */
  async models() {
    const { data } = Object(await this.#http.json("GET", "/v1/models"));
    if (!Array.isArray(data))
      throw new ClientError("the server did not tell its models");
    return data;
  }
};
function allHeaders(apiKey, given = {}) {
  const headers = new Headers(given);
  if (apiKey !== void 0 && !headers.has("Authorization"))
    headers.set("Authorization", `Bearer ${apiKey}`);
  return headers;
}
function sessionPath(id) {
  return `/v1/anytime/${encodeURIComponent(id)}`;
}
async function unless(statuses, request) {
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
