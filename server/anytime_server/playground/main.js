/** The page: brings form, run, curve and code together, and waits for the server to be ready. */

import { Client, RequestRefused } from "./anytime-client.js";
import { show } from "./code.js";
import { Curve } from "./curve.js";
import { tell } from "./faults.js";
import { Form, number } from "./form.js";
import { Key } from "./key.js";
import { element } from "./page.js";
import { Run } from "./run.js";
import { View } from "./view.js";

const base = new URL(".", location.href).href;
const key = new Key(changed);
/** Without retries: the page tells what is wrong, and waits where that helps. */
const connect = () => new Client(base, { apiKey: key.value, maxRetries: 0 });
const view = new View();
const run = new Run(connect, view);
const form = new Form(changed);

function changed() {
  show({ url: base.replace(/\/$/, ""), keyed: key.asked, question: form.question, options: form.options });
  view.preview(shape());
}

function shape() {
  return { budget: form.budget, scale: form.scale, planned: form.budgets };
}

/** What was tried last: to ask the form's question, or to think on. */
let tried = once;

async function attempt(begin) {
  if (run.going || element("ask").disabled || !form.check()) return;
  tried = begin;
  element("ask").disabled = true;
  const error = await begin();
  element("ask").disabled = false;
  if (error instanceof RequestRefused && error.field) {
    if (tell(error.field, error.message.replace(`${error.field}: `, ""))) element("notice").hidden = true;
    return;
  }
  if (lost()) element("status").focus({ preventScroll: true });
  if (error && (!(error instanceof RequestRefused) || [401, 403, 503].includes(error.status))) await ready();
}

/** The button that had the focus is disabled by now. */
function lost() {
  return document.activeElement === document.body || document.activeElement.disabled;
}

function once() {
  history.replaceState(null, "", `#${form.link}`);
  return run.ask({ question: form.question, options: form.options, shape: shape() });
}

function on() {
  return run.resume({ options: form.options, shape: shape() });
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(once);
});
element("again").addEventListener("click", () => attempt(tried));
element("continue").addEventListener("click", () => attempt(on));
element("answer-now").addEventListener("click", () => control(() => run.answerNow()));
element("extend").addEventListener("click", () => control(() => run.extend(number("step"))));
element("stop").addEventListener("click", () => control(() => run.stop()));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && run.going) control(() => run.stop());
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    attempt(once);
  }
});

/** A control may come too late: the run has moved on, and its own events tell how. */
async function control(act) {
  try {
    await act();
  } catch (error) {
    if (run.going) element("status").textContent = error.message;
  }
}

/** Wait until the server takes requests, and meet its model, which may be another than before. */
async function ready() {
  element("ask").disabled = true;
  let card = await lookForModel();
  while (!card) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    card = await lookForModel();
  }
  key.accept();
  meet(card);
  element("readiness").textContent = "ready";
  element("readiness").dataset.ready = "true";
  element("ask").disabled = false;
}

/** The model's card; null while there is none, with the reason in the page. */
async function lookForModel() {
  let reason = "no server answers";
  try {
    const response = await fetch("ready");
    if (response.ok) return (await connect().models())[0];
    reason = (await response.json()).reason ?? reason;
  } catch (error) {
    if ([401, 403].includes(error.status)) return lookWithKey(error.message);
  }
  element("readiness").textContent = reason;
  element("readiness").dataset.ready = "false";
  return null;
}

/** Look again with another key. */
async function lookWithKey(refusal) {
  element("readiness").textContent = "API key needed";
  element("readiness").dataset.ready = "false";
  await key.ask(refusal);
  return lookForModel();
}

let met = "";

/** Set the page to a model; what the reader has filled in stays if it is the one met before. */
function meet({ id, max_model_len, anytime }) {
  const known = JSON.stringify({ id, max_model_len, anytime });
  if (known === met) return;
  met = known;
  element("model").textContent = id;
  const points = anytime.accuracy_curve;
  view.curve = points.length ? new Curve(element("curve"), element("reading"), element("measured"), points) : null;
  element("curve-panel").hidden = !points.length;
  element("about").hidden = anytime.task?.kind !== "chain";
  form.configure({ max_model_len, anytime });
}

if (/Mac|iPhone|iPad/.test(navigator.userAgent)) element("modifier").textContent = "⌘";
changed();
await ready();
form.link = location.hash.slice(1);
